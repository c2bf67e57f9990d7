package schemas_test

import (
	"testing"

	"consort/shared/schemas"
)

func TestValidateAcceptsMinimalDocuments(t *testing.T) {
	schemas.Validate(t, schemas.UWS, []byte(`<jobs xmlns="http://www.ivoa.net/xml/UWS/v1.0" version="1.1"/>`))
	schemas.Validate(t, schemas.VOTable, []byte(`<VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3" version="1.4"><RESOURCE/></VOTABLE>`))
	schemas.Validate(t, schemas.ProvXML, []byte(`<prov:document xmlns:prov="http://www.w3.org/ns/prov#"/>`))
}

// recorder keeps a failure instead of failing the test.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Errorf(string, ...any) { r.failed = true }

func TestValidateRefusesInvalidDocuments(t *testing.T) {
	rec := &recorder{TB: t}
	schemas.Validate(rec, schemas.UWS, []byte(`<jobs xmlns="http://www.ivoa.net/xml/UWS/v1.0"><job/></jobs>`))
	if !rec.failed {
		t.Error("an invalid document passed")
	}
}
