package uws

import (
	"strconv"
	"time"

	"consort/shared/xmltext"
)

// The prefixes are part of the interface: some clients match the literal names "uws:job" and so on.
const (
	uwsXMLNS   = ` xmlns:uws="` + Namespace + `"`
	xlinkXMLNS = ` xmlns:xlink="` + xlinkNamespace + `"`
	xsiXMLNS   = ` xmlns:xsi="` + xsiNamespace + `"`
	allXMLNS   = uwsXMLNS + xlinkXMLNS + xsiXMLNS
)

// AppendJob appends the job document to dst. Parameters and results are always present, if empty, since
// some clients fail without them.
func AppendJob(dst []byte, j *Job) []byte {
	dst = append(dst, xmltext.Header+`<uws:job`+allXMLNS+` version="1.1">`...)
	dst = appendElement(dst, "jobId", j.ID)
	if j.RunID != "" {
		dst = appendElement(dst, "runId", j.RunID)
	}
	dst = appendNillable(dst, "ownerId", j.OwnerID)
	dst = appendElement(dst, "phase", string(j.Phase))
	dst = appendTimeOrNil(dst, "quote", j.Quote)
	dst = appendTimeElement(dst, "creationTime", j.CreationTime)
	dst = appendTimeOrNil(dst, "startTime", j.StartTime)
	dst = appendTimeOrNil(dst, "endTime", j.EndTime)
	dst = append(dst, "<uws:executionDuration>"...)
	dst = strconv.AppendInt(dst, int64(j.ExecutionDuration), 10)
	dst = append(dst, "</uws:executionDuration>"...)
	dst = appendTimeOrNil(dst, "destruction", j.Destruction)
	dst = appendParameters(dst, "", j.Parameters)
	dst = appendResults(dst, "", j.Results)
	dst = appendError(dst, j.Error)
	dst = appendInfo(dst, j.Info)
	return append(dst, "</uws:job>\n"...)
}

// AppendJobListStart appends the beginning of a job list to dst. The list can be streamed: any number of
// AppendJobRef follow, then AppendJobListEnd.
func AppendJobListStart(dst []byte) []byte {
	return append(dst, xmltext.Header+`<uws:jobs`+allXMLNS+` version="1.1">`+"\n"...)
}

// AppendJobRef appends one entry of a job list to dst.
func AppendJobRef(dst []byte, r *JobRef) []byte {
	dst = append(dst, "<uws:jobref"...)
	dst = appendAttr(dst, "id", r.ID)
	dst = append(dst, ` xlink:type="simple"`...)
	dst = appendAttr(dst, "xlink:href", r.Href)
	dst = append(dst, '>')
	dst = appendElement(dst, "phase", string(r.Phase))
	if r.RunID != "" {
		dst = appendElement(dst, "runId", r.RunID)
	}
	dst = appendNillable(dst, "ownerId", r.OwnerID)
	if !r.CreationTime.IsZero() {
		dst = appendTimeElement(dst, "creationTime", r.CreationTime)
	}
	return append(dst, "</uws:jobref>\n"...)
}

// AppendJobListEnd appends the end of a job list to dst.
func AppendJobListEnd(dst []byte) []byte { return append(dst, "</uws:jobs>\n"...) }

// AppendParameters appends the document of {job}/parameters to dst.
func AppendParameters(dst []byte, ps []Parameter) []byte {
	return append(appendParameters(append(dst, xmltext.Header...), allXMLNS, ps), '\n')
}

// AppendResults appends the document of {job}/results to dst.
func AppendResults(dst []byte, rs []Result) []byte {
	return append(appendResults(append(dst, xmltext.Header...), allXMLNS, rs), '\n')
}

func appendParameters(dst []byte, xmlns string, ps []Parameter) []byte {
	dst = append(append(append(dst, "<uws:parameters"...), xmlns...), '>')
	for i := range ps {
		p := &ps[i]
		dst = append(dst, "<uws:parameter"...)
		dst = appendAttr(dst, "id", p.ID)
		if p.ByReference {
			dst = append(dst, ` byReference="true"`...)
		}
		if p.IsPost {
			dst = append(dst, ` isPost="true"`...)
		}
		dst = append(dst, '>')
		dst = xmltext.AppendText(dst, p.Value)
		dst = append(dst, "</uws:parameter>"...)
	}
	return append(dst, "</uws:parameters>"...)
}

func appendResults(dst []byte, xmlns string, rs []Result) []byte {
	dst = append(append(append(dst, "<uws:results"...), xmlns...), '>')
	for i := range rs {
		r := &rs[i]
		dst = append(dst, "<uws:result"...)
		dst = appendAttr(dst, "id", r.ID)
		dst = append(dst, ` xlink:type="simple"`...)
		dst = appendAttr(dst, "xlink:href", r.Href)
		if r.Size >= 0 {
			dst = append(dst, ` size="`...)
			dst = strconv.AppendInt(dst, r.Size, 10)
			dst = append(dst, '"')
		}
		if r.MimeType != "" {
			dst = appendAttr(dst, "mime-type", r.MimeType)
		}
		dst = append(dst, "/>"...)
	}
	return append(dst, "</uws:results>"...)
}

func appendError(dst []byte, e *ErrorSummary) []byte {
	if e == nil {
		return dst
	}
	kind := Fatal
	if e.Type == Transient {
		kind = Transient
	}
	dst = append(dst, "<uws:errorSummary"...)
	dst = appendAttr(dst, "type", string(kind))
	dst = appendAttr(dst, "hasDetail", strconv.FormatBool(e.HasDetail))
	dst = append(dst, '>')
	dst = appendElement(dst, "message", e.Message)
	return append(dst, "</uws:errorSummary>"...)
}

func appendInfo(dst []byte, i *JobInfo) []byte {
	if i == nil {
		return dst
	}
	dst = append(dst, `<uws:jobInfo xmlns:fed="`+InfoNamespace+`">`...)
	dst = appendInfoElement(dst, "definition", i.Definition)
	dst = appendInfoElement(dst, "site", i.Site)
	if i.Epoch > 0 {
		dst = appendInfoElement(dst, "epoch", strconv.FormatUint(i.Epoch, 10))
	}
	dst = appendInfoElement(dst, "attempt", i.Attempt)
	dst = appendInfoElement(dst, "reason", i.Reason)
	if !i.SiteUnreachableSince.IsZero() {
		dst = appendInfoElement(dst, "siteUnreachableSince", FormatTime(i.SiteUnreachableSince))
	}
	return append(dst, "</uws:jobInfo>"...)
}

func appendInfoElement(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return appendTagged(dst, "fed:", name, value)
}

func appendElement(dst []byte, name, value string) []byte {
	return appendTagged(dst, "uws:", name, value)
}

func appendTagged(dst []byte, prefix, name, value string) []byte {
	dst = appendOpen(dst, prefix, name)
	dst = xmltext.AppendText(dst, value)
	return appendClose(dst, prefix, name)
}

func appendOpen(dst []byte, prefix, name string) []byte {
	dst = append(dst, '<')
	dst = append(dst, prefix...)
	dst = append(dst, name...)
	return append(dst, '>')
}

func appendClose(dst []byte, prefix, name string) []byte {
	dst = append(dst, "</"...)
	dst = append(dst, prefix...)
	dst = append(dst, name...)
	return append(dst, '>')
}

func appendNillable(dst []byte, name, value string) []byte {
	if value == "" {
		return appendNil(dst, name)
	}
	return appendElement(dst, name, value)
}

func appendTimeOrNil(dst []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return appendNil(dst, name)
	}
	return appendTimeElement(dst, name, t)
}

func appendTimeElement(dst []byte, name string, t time.Time) []byte {
	dst = appendOpen(dst, "uws:", name)
	dst = AppendTime(dst, t)
	return appendClose(dst, "uws:", name)
}

func appendNil(dst []byte, name string) []byte {
	dst = append(dst, "<uws:"...)
	dst = append(dst, name...)
	return append(dst, ` xsi:nil="true"/>`...)
}

func appendAttr(dst []byte, name, value string) []byte {
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, `="`...)
	dst = xmltext.AppendAttr(dst, value)
	return append(dst, '"')
}
