package jobs_test

import (
	"strings"
	"testing"

	"consort/coordinator/coordtest"
	"consort/shared/siteapi"
	"consort/shared/userapi"
)

// TestURLInputs: a URL is taken as it is, handed to the site, and shown without what grants access.
func TestURLInputs(t *testing.T) {
	w := newWorld(t)
	const signed = "https://Archive.Example.org:443/a/m51.fits?X-Amz-Signature=key&x=1#top"
	job := w.create("", "trial", "data", signed, "data", "http://archive.example.org/", "PHASE", "RUN")
	poll := w.site.PollRequest(1, 5)
	poll.URLs = []string{"https://archive.example.org/a/", "http://archive.example.org/"}
	answer := new(siteapi.PollResponse)
	if status, problem := w.site.Call(siteapi.PollPath, poll, answer); problem != nil || len(answer.Leases) != 1 {
		t.Fatalf("%d %v %+v", status, problem, answer)
	}
	in := answer.Leases[0].Inputs
	want := siteapi.Input{Name: "data", FileName: "m51.fits", URL: "https://archive.example.org/a/m51.fits?X-Amz-Signature=key&x=1"}
	if len(in) != 2 || in[0] != want || in[1] != (siteapi.Input{Name: "data", URL: "http://archive.example.org/"}) {
		t.Errorf("the lease has %+v", in)
	}

	document := w.Get(job).Text()
	if !strings.Contains(document, `byReference="true">https://archive.example.org/a/m51.fits?X-Amz-Signature=&amp;x=1<`) {
		t.Errorf("the document does not refer to the URL: %s", document)
	}
	view := w.View(job)
	if len(view.Inputs) != 2 || view.Inputs[0].Source != "url" || view.Inputs[0].FromURL != "https://archive.example.org/a/m51.fits?X-Amz-Signature=&x=1" {
		t.Errorf("the JSON view has %+v", view.Inputs)
	}
	w.says(w.want(404, w.Get(job+"/parameters/data")).Text(), "https://archive.example.org/a/m51.fits")
	var shown userapi.Job
	w.JSON(coordtest.Operator, "/jobs/"+coordtest.Job(job), &shown)
	for _, text := range []string{document, w.Get(job + "/parameters").Text(), w.Get(job + "/prov").Text()} {
		if strings.Contains(text, "Signature=key") {
			t.Errorf("the signature is shown: %s", text)
		}
	}
}

// TestBadURLs: what a site could not or should not fetch is refused when the job is made, or changed.
func TestBadURLs(t *testing.T) {
	w := newWorld(t)
	draft := w.create("", "trial")
	for url, why := range map[string]string{
		"https://me:pa55@example.org/x":                         "user name or a password",
		"ftp://example.org/x":                                   "https://",
		"https://example.org/../etc/passwd":                     "..",
		"https://2130706433/x":                                  "host",
		"https://example.org/" + strings.Repeat("x", 2000):      "2000",
		"https://" + strings.Repeat("x", 3000) + ".example.org": "2000",
	} {
		text := w.post("", "/rest/trial", 400, "data", url, "PHASE", "RUN").Text()
		w.says(text, "data", why)
		if strings.Contains(text, "pa55") {
			t.Errorf("a password is told: %s", text)
		}
		w.says(w.post("", draft+"/parameters", 400, "data", url).Text(), "data", why)
	}
	w.post("", draft+"/parameters", 303, "data", "https://example.org/x")
	if in := w.View(draft).Inputs; len(in) != 1 || in[0].FromURL != "https://example.org/x" || in[0].SHA256 != "" {
		t.Errorf("the draft has %+v", in)
	}
}
