"""Drives jobs with pyvo and requests, as a notebook would. Usage: pyvo_job.py BASE"""
import sys

import requests
from pyvo.dal import AsyncTAPJob, DALQueryError
from pyvo.io.uws import parse_job_list

base = sys.argv[1]


def create(data, files=None):
    answer = requests.post(base + "/rest/probe", data=data, files=files, allow_redirects=False)
    assert answer.status_code == 303, (answer.status_code, answer.text)
    return AsyncTAPJob(answer.headers["Location"])


def expect(what, got, want):
    assert got == want, "%s: got %r, want %r" % (what, got, want)


job = create({"text": "from python", "seconds": "0.5", "RUNID": "pyvo"}, {"input": ("in.txt", b"some bytes")})
expect("phase", job.phase, "PENDING")
job.run()
job.wait(timeout=120)
job.raise_if_error()
expect("phase", job.phase, "COMPLETED")
uris = {r.id_: r.href for r in job.results}
assert "answer" in uris, uris
expect("first result", job.result_uris[0], uris["answer"])
expect("answer", requests.get(uris["answer"]).text, "done\nfrom python\nsome bytes")
assert "prov" in requests.get(job.url + "/provjson").json()["prefix"], "no provenance"

listed = [j.jobid for j in parse_job_list(base + "/rest/probe")]
assert job.job_id in listed, (job.job_id, listed)

url = job.url
job.delete()
expect("after delete", requests.get(url).status_code, 404)

failing = create({"fail": "true", "PHASE": "RUN"})
failing.wait(timeout=120)
expect("phase", failing.phase, "ERROR")
try:
    failing.raise_if_error()
except DALQueryError:
    pass
else:
    raise AssertionError("no error was raised")
# pyvo 1.2 reads the error summary, but loses the text of its message
expect("type of error", failing._job.errorsummary.type_, "fatal")
assert "probe: failed, as asked" in requests.get(failing.url + "/error").text, "no message"

long = create({"seconds": "300", "PHASE": "RUN"})
long.abort()
expect("phase", long.phase, "ABORTED")
print("all is well")
