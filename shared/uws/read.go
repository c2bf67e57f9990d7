package uws

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"consort/shared/xmltext"
)

// MaxDocument is the greatest document, in bytes, that the readers take.
const MaxDocument = 16 << 20

// ParseJob reads a job document of at most MaxDocument bytes. Times may have any form that ParseTime
// takes; an empty element counts as nil. It refuses a DOCTYPE, unknown phases, and anything after the
// root element.
func ParseJob(r io.Reader) (*Job, error) {
	var x xmlJob
	if err := xmltext.Unmarshal(r, MaxDocument, &x); err != nil {
		return nil, fmt.Errorf("read UWS job: %w", err)
	}
	j, err := x.job()
	if err != nil {
		return nil, fmt.Errorf("read UWS job: %w", err)
	}
	return j, nil
}

// ParseJobs reads a job list of at most MaxDocument bytes, as ParseJob does.
func ParseJobs(r io.Reader) ([]JobRef, error) {
	var x xmlJobs
	if err := xmltext.Unmarshal(r, MaxDocument, &x); err != nil {
		return nil, fmt.Errorf("read UWS job list: %w", err)
	}
	refs := make([]JobRef, 0, len(x.Refs))
	for _, ref := range x.Refs {
		phase, err := ParsePhase(strings.TrimSpace(ref.Phase))
		if err != nil {
			return nil, fmt.Errorf("read UWS job list: job %.80q: %w", ref.ID, err)
		}
		created, err := optionalTime(ref.CreationTime)
		if err != nil {
			return nil, fmt.Errorf("read UWS job list: job %.80q: creationTime: %w", ref.ID, err)
		}
		refs = append(refs, JobRef{ID: ref.ID, Href: ref.Href, Phase: phase, RunID: ref.RunID, OwnerID: ref.OwnerID, CreationTime: created})
	}
	return refs, nil
}

type xmlJobs struct {
	XMLName xml.Name `xml:"http://www.ivoa.net/xml/UWS/v1.0 jobs"`
	Refs    []struct {
		ID           string `xml:"id,attr"`
		Href         string `xml:"http://www.w3.org/1999/xlink href,attr"`
		Phase        string `xml:"phase"`
		RunID        string `xml:"runId"`
		OwnerID      string `xml:"ownerId"`
		CreationTime string `xml:"creationTime"`
	} `xml:"jobref"`
}

type xmlJob struct {
	XMLName           xml.Name       `xml:"http://www.ivoa.net/xml/UWS/v1.0 job"`
	ID                string         `xml:"jobId"`
	RunID             string         `xml:"runId"`
	OwnerID           string         `xml:"ownerId"`
	Phase             string         `xml:"phase"`
	Quote             string         `xml:"quote"`
	CreationTime      string         `xml:"creationTime"`
	StartTime         string         `xml:"startTime"`
	EndTime           string         `xml:"endTime"`
	ExecutionDuration string         `xml:"executionDuration"`
	Destruction       string         `xml:"destruction"`
	Parameters        []xmlParameter `xml:"parameters>parameter"`
	Results           []xmlResult    `xml:"results>result"`
	Error             *xmlError      `xml:"errorSummary"`
	Info              *xmlInfo       `xml:"jobInfo"`
}

type xmlParameter struct {
	ID          string `xml:"id,attr"`
	ByReference bool   `xml:"byReference,attr"`
	IsPost      bool   `xml:"isPost,attr"`
	Value       string `xml:",chardata"`
}

type xmlResult struct {
	ID       string `xml:"id,attr"`
	Href     string `xml:"http://www.w3.org/1999/xlink href,attr"`
	Size     *int64 `xml:"size,attr"`
	MimeType string `xml:"mime-type,attr"`
}

type xmlError struct {
	Type      string `xml:"type,attr"`
	HasDetail bool   `xml:"hasDetail,attr"`
	Message   string `xml:"message"`
}

type xmlInfo struct {
	Definition string `xml:"https://w3id.org/consort/prov# definition"`
	Site       string `xml:"https://w3id.org/consort/prov# site"`
	Epoch      string `xml:"https://w3id.org/consort/prov# epoch"`
	Attempt    string `xml:"https://w3id.org/consort/prov# attempt"`
	Reason     string `xml:"https://w3id.org/consort/prov# reason"`
	Since      string `xml:"https://w3id.org/consort/prov# siteUnreachableSince"`
}

func (x *xmlJob) job() (*Job, error) {
	phase, err := ParsePhase(strings.TrimSpace(x.Phase))
	if err != nil {
		return nil, err
	}
	j := &Job{ID: x.ID, RunID: x.RunID, OwnerID: x.OwnerID, Phase: phase}
	if x.ExecutionDuration != "" {
		if j.ExecutionDuration, err = ParseExecutionDuration(x.ExecutionDuration); err != nil {
			return nil, err
		}
	}
	for _, t := range []struct {
		name, text string
		into       *time.Time
	}{
		{"quote", x.Quote, &j.Quote}, {"creationTime", x.CreationTime, &j.CreationTime},
		{"startTime", x.StartTime, &j.StartTime}, {"endTime", x.EndTime, &j.EndTime},
		{"destruction", x.Destruction, &j.Destruction},
	} {
		if *t.into, err = optionalTime(t.text); err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
	}
	for _, p := range x.Parameters {
		j.Parameters = append(j.Parameters, Parameter{ID: p.ID, Value: p.Value, ByReference: p.ByReference, IsPost: p.IsPost})
	}
	for _, r := range x.Results {
		j.Results = append(j.Results, r.result())
	}
	if x.Error != nil {
		j.Error = &ErrorSummary{Type: ErrorType(x.Error.Type), HasDetail: x.Error.HasDetail, Message: x.Error.Message}
	}
	j.Info, err = x.Info.info()
	return j, err
}

func (r *xmlResult) result() Result {
	size := int64(-1)
	if r.Size != nil {
		size = *r.Size
	}
	return Result{ID: r.ID, Href: r.Href, MimeType: r.MimeType, Size: size}
}

func (x *xmlInfo) info() (*JobInfo, error) {
	if x == nil {
		return nil, nil
	}
	i := &JobInfo{Definition: x.Definition, Site: x.Site, Attempt: x.Attempt, Reason: x.Reason}
	var err error
	if x.Epoch != "" {
		if i.Epoch, err = strconv.ParseUint(x.Epoch, 10, 64); err != nil {
			return nil, fmt.Errorf("jobInfo: %w", invalid("epoch", x.Epoch, "a whole number"))
		}
	}
	if i.SiteUnreachableSince, err = optionalTime(x.Since); err != nil {
		return nil, fmt.Errorf("jobInfo: siteUnreachableSince: %w", err)
	}
	return i, nil
}

func optionalTime(s string) (time.Time, error) {
	if strings.TrimSpace(s) == "" {
		return time.Time{}, nil
	}
	return ParseTime(s)
}
