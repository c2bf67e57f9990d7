package provform

import (
	"net/url"
	"strings"

	"consort/shared/prov"
	"consort/shared/uws"
)

// Path is where ProvSAP answers.
const Path = "/provsap"

// StandardProvSAP identifies the protocol, which never became a standard; clients of its drafts look for this.
const StandardProvSAP = "ivo://ivoa.net/std/ProvSAP"

// NodeURL is where the provenance of a node is told, in the named form or, without one, as the client likes it.
func NodeURL(base string, node prov.QName, form string) string {
	values := url.Values{"ID": {node.String()}}
	if form != "" {
		values.Set("RESPONSEFORMAT", form)
	}
	return base + Path + "?" + values.Encode()
}

// Service is how capabilities tell of ProvSAP.
func Service(base string) uws.Service {
	return uws.Service{
		StandardID: StandardProvSAP, Version: "1.0", URL: base + Path,
		Description: "Provenance of jobs and results: " + strings.Join(Names(), ", "),
	}
}
