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

// kinds are the namespaces of identifiers by the path segment that their IRIs have.
var kinds = map[string]string{"job": "job", "entity": "ent", "data": "data", "jdl": "jdl", "agent": "agt"}

// Identifier reads what stands in an IRI below /id/.
func Identifier(kind, local string) (prov.QName, bool) {
	node := prov.QName{Prefix: kinds[kind], Local: local}
	return node, node.Prefix != "" && node.Valid()
}

// ID takes the address at which this server resolves an identifier for the identifier: it is what people copy from
// their browser where the authority is another address. All else stays as it is.
func ID(base, text string) string {
	path, ours := strings.CutPrefix(strings.TrimSpace(text), base+"/id/")
	kind, escaped, _ := strings.Cut(path, "/")
	local, err := url.PathUnescape(escaped)
	if !ours || err != nil {
		return text
	}
	if node, ok := Identifier(kind, local); ok {
		return node.String()
	}
	return text
}

// Service is how capabilities tell of ProvSAP.
func Service(base string) uws.Service {
	return uws.Service{
		StandardID: StandardProvSAP, Version: "1.0", URL: base + Path,
		Description: "Provenance of jobs and results: " + strings.Join(Names(), ", "),
	}
}
