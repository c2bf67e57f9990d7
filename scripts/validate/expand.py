"""Give rdf-validate-shacl what it does not do itself.

usage: expand.py METADATA...

Reads the JSON-LD of crates with the contexts beside this file, never from a network. Of the shapes beside this file it
evaluates what belongs to SHACL Advanced Features and SHACL-SPARQL: the nodes that SPARQL targets select, the triples that
rules add and the constraints in SPARQL. Writes a JSON object for each crate, on a line: the expanded data, the shapes
with plain targets (both N-Triples), and what violates a constraint in SPARQL.
"""
import functools
import json
import pathlib
import re
import sys

import rdflib
import rdflib.plugins.shared.jsonld.context as jsonld_context
from rdflib import OWL, RDF, SH, Literal
from rdflib.plugins.sparql import prepareQuery

HERE = pathlib.Path(__file__).resolve().parent
BASE = "file:///crate/"
CONTEXTS = {
    "https://w3id.org/ro/crate/1.1/context": "ro-crate-1.1-context.jsonld",
    "https://w3id.org/ro/terms/workflow-run/context": "workflow-run-context.jsonld",
}


def local_only(source, *_):
    if source not in CONTEXTS:
        sys.exit("the context %s is not here" % source)
    return json.loads((HERE / "contexts" / CONTEXTS[source]).read_text())


jsonld_context.source_to_json = local_only


@functools.lru_cache
def prepared(text, prefixes):
    return prepareQuery(text, initNs=dict(prefixes), base=BASE)


def query(shapes, data, node, ask=False):
    """The nodes that the sh:select of a target gives, or whether that of a constraint gives anything."""
    prefixes = frozenset(
        (str(shapes.value(d, SH.prefix)), str(shapes.value(d, SH.namespace)))
        for p in shapes.objects(node, SH.prefixes)
        for d in shapes.objects(p, SH.declare)
    )
    text = str(shapes.value(node, SH.select))
    if ask:  # in a SELECT rdflib leaves solutions out that bind nothing
        return data.query(prepared(re.sub(r"SELECT\b.*?\bWHERE\b", "ASK", text, flags=re.DOTALL), prefixes)).askAnswer
    return [row[0] for row in data.query(prepared(text, prefixes))]


def targets_of(shapes, data, shape):
    found = set(shapes.objects(shape, SH.targetNode))
    for cls in shapes.objects(shape, SH.targetClass):
        found.update(data.subjects(RDF.type, cls))
    for prop in shapes.objects(shape, SH.targetObjectsOf):
        found.update(data.objects(None, prop))
    for target in shapes.objects(shape, SH.target):
        found.update(query(shapes, data, target))
    return found


def holds(shapes, data, node, condition):
    """Conditions of the shapes here are all of one form: the node has a value."""
    for prop in shapes.objects(condition, SH.property):
        if (node, shapes.value(prop, SH.path), shapes.value(prop, SH.hasValue)) not in data:
            return False
    return True


def apply_rules(shapes, data):
    """Add what the rules say, until they say nothing new."""
    size = -1
    while size != len(data):
        size = len(data)
        for cls, same in shapes.subject_objects(OWL.equivalentClass):
            for node in list(data.subjects(RDF.type, cls)):
                data.add((node, RDF.type, same))
        for shape, rule in list(shapes.subject_objects(SH.rule)):
            for node in targets_of(shapes, data, shape):
                if isinstance(node, Literal):
                    continue
                if all(holds(shapes, data, node, c) for c in shapes.objects(rule, SH.condition)):
                    data.add((node, shapes.value(rule, SH.predicate), shapes.value(rule, SH.object)))


def expand(metadata, all_shapes):
    data = rdflib.Graph().parse(metadata, format="json-ld", publicID=BASE)
    shapes = rdflib.Graph() + all_shapes
    apply_rules(shapes, data)
    violations = []
    for shape, constraint in list(shapes.subject_objects(SH.sparql)):
        if query(shapes, data, constraint, ask=True):
            violations.append(str(shapes.value(constraint, SH.message)))
        shapes.remove((shape, SH.sparql, constraint))
    for shape, target in list(shapes.subject_objects(SH.target)):
        for node in query(shapes, data, target):
            shapes.add((shape, SH.targetNode, node))
        shapes.remove((shape, SH.target, target))
    return {"data": data.serialize(format="nt"), "shapes": shapes.serialize(format="nt"), "violations": violations}


def main():
    shapes = rdflib.Graph()
    for path in sorted((HERE / "shacl").rglob("*.ttl")):
        shapes.parse(str(path), format="turtle", publicID=BASE)
    for metadata in sys.argv[1:]:
        print(json.dumps(expand(metadata, shapes)))


main()
