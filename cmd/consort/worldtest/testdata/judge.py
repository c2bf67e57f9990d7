"""Validates PROV-JSON documents by the schema of the submission and loads them with python-prov.
Usage: judge.py SCHEMA DOCUMENT..., prints the number of records of each."""
import json
import sys

import jsonschema
import prov.model

validator = jsonschema.Draft4Validator(json.load(open(sys.argv[1])))
for path in sys.argv[2:]:
    text = open(path, encoding="utf-8").read()
    errors = list(validator.iter_errors(json.loads(text)))
    if errors:
        sys.exit("%s: %s" % (path, errors[0]))
    document = prov.model.ProvDocument.deserialize(content=text, format="json")
    print(sum(len(d.get_records()) for d in [document] + list(document.bundles)))
