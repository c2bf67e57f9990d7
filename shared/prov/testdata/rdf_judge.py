"""Compare RDF documents with the records that they were written from.

Lines of standard input: expectation, document, format (turtle, nt for what raptor made of Turtle, or json-ld). An
expectation is a JSON object with the records of the document and of its bundles. Arguments: the JSON-LD context and the
schema of PROV-JSONLD.
"""
import json
import logging
import re
import sys

import jsonschema
import rdflib
import rdflib.plugins.parsers.ntriples as ntriples
import rdflib.plugins.shared.jsonld.context as jsonld_context
from rdflib import RDF, RDFS, BNode, Literal, URIRef

rdflib.NORMALIZE_LITERALS = False
logging.disable(logging.ERROR)  # texts that are not of their datatype are meant
PROV = rdflib.Namespace("http://www.w3.org/ns/prov#")
EXT = rdflib.Namespace("https://openprovenance.org/ns/provext#")
CHARS = URIRef("http://www.w3.org/2011/content#chars")
# class, then the properties of the references after the first, from the text of PROV-O
RELATIONS = {
    "wasGeneratedBy": ("Generation", PROV.activity),
    "used": ("Usage", PROV.entity),
    "wasInformedBy": ("Communication", PROV.activity),
    "wasStartedBy": ("Start", PROV.entity, PROV.hadActivity),
    "wasEndedBy": ("End", PROV.entity, PROV.hadActivity),
    "wasInvalidatedBy": ("Invalidation", PROV.activity),
    "wasDerivedFrom": ("Derivation", PROV.entity, PROV.hadActivity, PROV.hadGeneration, PROV.hadUsage),
    "wasAttributedTo": ("Attribution", PROV.agent),
    "wasAssociatedWith": ("Association", PROV.agent, PROV.hadPlan),
    "actedOnBehalfOf": ("Delegation", PROV.agent, PROV.hadActivity),
    "wasInfluencedBy": ("Influence", PROV.influencer),
}
BARE = {
    "specializationOf": ("Specialization", EXT.generalEntity),
    "alternateOf": ("Alternate", EXT.alternate),
    "hadMember": ("Membership", EXT.member),
}
ELEMENTS = {"entity": PROV.Entity, "activity": PROV.Activity, "agent": PROV.Agent}
CONTEXT = json.load(open(sys.argv[1]))
VALIDATOR = jsonschema.Draft7Validator(json.load(open(sys.argv[2])))


def local_only(source, *_):
    if source != "https://openprovenance.org/prov-jsonld/context.jsonld":
        raise ValueError("would fetch %s" % source)
    return CONTEXT


jsonld_context.source_to_json = local_only


ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


def unquote(text):
    """Decode a string of N-Triples; rdflib 6.1 takes "\\\\n" for a line end."""
    return re.sub(
        r"\\(?:u(....)|U(........)|(.))",
        lambda m: ESCAPES.get(m[3], m[3]) if m[3] else chr(int(m[1] or m[2], 16)),
        text,
    )


ntriples.unquote = unquote
ntriples.bufsiz = 1 << 24  # else a long line is searched again and again


def object_of(attribute, jsonld):
    """The RDF term of an attribute value, or None where there is a choice."""
    name, text, datatype, lang, iri = attribute
    if iri:
        if jsonld and not name.endswith(("prov#type", "prov#role", "prov#location")):
            return Literal(text, datatype=PROV.QUALIFIED_NAME)
        return URIRef(iri)
    if lang:
        return Literal(text, lang=lang)
    if datatype.endswith("XMLSchema#anyURI") and name == str(PROV.location):
        return None
    return Literal(text, datatype=None if datatype.endswith("XMLSchema#string") else URIRef(datatype))


def predicates_of(name):
    return {
        str(PROV.type): [RDF.type, PROV.type],
        str(PROV.label): [RDFS.label, PROV.label],
        str(PROV.location): [PROV.atLocation],
        str(PROV.role): [PROV.hadRole],
    }.get(name, [URIRef(name)])


def has_attribute(graph, node, attribute, jsonld):
    value = object_of(attribute, jsonld)
    for predicate in predicates_of(attribute[0]):
        if value is None:
            if (node, predicate, URIRef(attribute[1])) in graph or (node, predicate, Literal(attribute[1], datatype=URIRef(attribute[2]))) in graph:
                return True
        if (node, predicate, value) in graph:
            return True
        if predicate == PROV.hadRole and any((role, RDFS.label, value) in graph for role in graph.objects(node, predicate)):
            return True
    return False


def as_raptor_reads(records):
    """For raptor a text ends at U+0000 and at U+FFFE and U+FFFF."""
    return [(*formal, [[a[0], re.split("[\0\ufffe\uffff]", a[1])[0], *a[2:]] for a in attributes]) for *formal, attributes in records]


def check(graph, records, jsonld, where):
    counts = {}
    for kind, ident, refs, times, attributes in records:
        counts[kind] = counts.get(kind, 0) + 1
        what = "%s: %s(%s) %s" % (where, kind, ident, refs)
        if kind in ELEMENTS:
            nodes = [URIRef(ident)]
            wanted = [(RDF.type, ELEMENTS[kind])]
            wanted += [(p, Literal(t, datatype=rdflib.XSD.dateTime)) for p, t in zip((PROV.startedAtTime, PROV.endedAtTime), times) if t]
        elif kind in BARE and not jsonld:
            assert (URIRef(refs[0]), PROV[kind], URIRef(refs[1])) in graph, what
            continue
        else:
            name, *properties = BARE.get(kind) or RELATIONS[kind]
            space = EXT if kind in BARE else PROV
            qualified = list(graph.objects(URIRef(refs[0]), space["qualified" + name]))
            nodes = [n for n in qualified if (n == URIRef(ident) if ident else isinstance(n, BNode))]
            wanted = [(RDF.type, space[name])]
            wanted += [(p, URIRef(r)) for p, r in zip(properties, refs[1:]) if r]
            wanted += [(PROV.atTime, Literal(t, datatype=rdflib.XSD.dateTime)) for t in times if t]
            if not jsonld and len(refs) > 1 and refs[1]:
                assert (URIRef(refs[0]), PROV[kind], URIRef(refs[1])) in graph, what + " unqualified"
        for node in nodes:
            if all((node, p, o) in graph for p, o in wanted) and all(has_attribute(graph, node, a, jsonld) for a in attributes):
                break
        else:
            sys.exit("%s is not in the graph with %s %s" % (what, wanted, str(attributes)[:2000]))
    for kind, cls in ELEMENTS.items():
        ids = {r[1] for r in records if r[0] == kind}
        found = {str(s) for s in graph.subjects(RDF.type, cls)} - {str(s) for s in graph.subjects(RDF.type, PROV.Bundle)}
        bundles = {str(s) for s in graph.subjects(RDF.type, PROV.Bundle)}
        if found != ids - bundles:
            sys.exit("%s: ids of %s: %s" % (where, kind, found ^ ids))
    for kind in list(RELATIONS) + list(BARE):
        if kind in BARE and not jsonld:
            found = len(list(graph.subject_objects(PROV[kind])))
        else:
            space = EXT if kind in BARE else PROV
            found = len(list(graph.subject_objects(space["qualified" + (BARE.get(kind) or RELATIONS[kind])[0]])))
        if found != counts.get(kind, 0):
            sys.exit("%s: %d of %s, want %d" % (where, found, kind, counts.get(kind, 0)))


for line in sys.stdin:
    expectation, document, form = line.split()
    expected = json.load(open(expectation, encoding="utf-8"))
    dataset = rdflib.ConjunctiveGraph()
    if form == "json-ld":
        errors = list(VALIDATOR.iter_errors(json.load(open(document, encoding="utf-8"))))
        if errors:
            sys.exit("%s: %s" % (document, str(errors[0])[:3000]))
        dataset.parse(document, format=form)
        graph = rdflib.Graph()
        for context in dataset.contexts():
            if str(context.identifier) not in expected["bundles"]:
                graph += context
        check(graph, expected["records"], True, document)
        for bundle, records in expected["bundles"].items():
            assert (URIRef(bundle), RDF.type, PROV.Bundle) in graph, "%s: no bundle %s" % (document, bundle)
            check(dataset.get_context(URIRef(bundle)), records, True, document + " " + bundle)
    else:
        graph = rdflib.Graph().parse(document, format=form)
        records = expected["records"]
        check(graph, as_raptor_reads(records) if form == "nt" else records, False, document)
        for bundle, records in expected["bundles"].items():
            assert (URIRef(bundle), RDF.type, PROV.Bundle) in graph, "%s: no bundle %s" % (document, bundle)
            if form == "nt" and re.search("\\\\uFFF[EF]", json.dumps(records), re.I):
                continue  # raptor has cut the text of the bundle
            inner = rdflib.Graph().parse(data=str(graph.value(URIRef(bundle), CHARS)), format="turtle")
            check(inner, records, False, document + " " + bundle)
    print(len(graph))
