"""Judges provenance documents by the schemas, python-prov and rdflib, and each form by the others.

Usage: judge_provenance.py SCHEMAS STEM... where SCHEMAS is a folder with the schemas of PROV-JSON and PROV-JSONLD and the
context of the latter, and STEM.json, .xml, .n.json (PROV-N, as our own reader understood it), .ttl and .jsonld are one
answer in five forms. Prints the number of records of each answer.
"""
import json
import sys

import jsonschema
import lxml.etree
import prov.model
import rdflib
import rdflib.plugins.shared.jsonld.context as jsonld_context
from rdflib import RDF

PROV = rdflib.Namespace("http://www.w3.org/ns/prov#")
CONTEXT_URL = "https://openprovenance.org/prov-jsonld/context.jsonld"
CLASSES = {prov.model.ProvEntity: PROV.Entity, prov.model.ProvActivity: PROV.Activity, prov.model.ProvAgent: PROV.Agent}

schemas = sys.argv[1]
as_json = jsonschema.Draft4Validator(json.load(open(schemas + "/prov-json.schema.json")))
as_jsonld = jsonschema.Draft7Validator(json.load(open(schemas + "/prov-jsonld.schema.json")))
context = json.load(open(schemas + "/prov-jsonld-context.jsonld"))


def local_only(source, *_):
    if source != CONTEXT_URL:
        raise ValueError("would fetch " + source)
    return context


jsonld_context.source_to_json = local_only


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


EMPTY = "(empty)"  # python-prov takes an empty text in XML for none


def named(value):
    """A JSON value with a name for empty texts."""
    if isinstance(value, dict):
        return {k: named(v) for k, v in value.items()}
    if isinstance(value, list):
        return [named(v) for v in value]
    return EMPTY if value == "" else value


def load_json(path):
    return prov.model.ProvDocument.deserialize(content=json.dumps(named(json.loads(read(path)))), format="json")


def load_xml(path):
    tree = lxml.etree.parse(path)
    for element in tree.iter(lxml.etree.Element):
        if len(element) == 0 and not element.text and not any(a.endswith(("}ref", "}id")) for a in element.attrib):
            element.text = EMPTY
    return prov.model.ProvDocument.deserialize(content=lxml.etree.tostring(tree), format="xml")


def valid(validator, path):
    errors = list(validator.iter_errors(json.loads(read(path))))
    if errors:
        sys.exit("%s: %s" % (path, str(errors[0])[:2000]))


for stem in sys.argv[2:]:
    valid(as_json, stem + ".json")
    document = load_json(stem + ".json")
    if load_json(stem + ".n.json") != document:
        sys.exit(stem + ": PROV-N and PROV-JSON differ")
    if load_xml(stem + ".xml") != document:
        sys.exit(stem + ": PROV-XML and PROV-JSON differ")
    valid(as_jsonld, stem + ".jsonld")
    turtle = rdflib.Graph().parse(stem + ".ttl", format="turtle")
    linked = rdflib.ConjunctiveGraph()
    linked.parse(stem + ".jsonld", format="json-ld")
    for kind, of_rdf in CLASSES.items():
        wanted = {r.identifier.uri for r in document.get_records(kind)}
        for form, graph in ("Turtle", turtle), ("PROV-JSONLD", linked):
            missing = wanted - {str(s) for s in graph.subjects(RDF.type, of_rdf)}
            if missing:
                sys.exit("%s: %s lacks %s %s" % (stem, form, of_rdf, sorted(missing)[:5]))
    print(sum(len(d.get_records()) for d in [document] + list(document.bundles)))
