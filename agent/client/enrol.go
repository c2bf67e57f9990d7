package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"consort/shared/siteapi"
)

// Enrol redeems a one-time token at a server, once: the token is used up by an answer that got lost, and a
// person waits who can ask for another.
func Enrol(ctx context.Context, server string, conf *tls.Config, request siteapi.EnrolRequest) (*siteapi.Enrolment, error) {
	base, err := baseURL(server)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode the enrolment: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, smallTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+siteapi.EnrolPath, bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "consort-agent/"+request.Version)
	client := newHTTP(conf)
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the coordinators to enrol this site: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("enrol this site: %w", readError(base, resp))
	}
	var answer siteapi.Enrolment
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("decode the answer to the enrolment: %w", err)
	}
	if answer.Site == "" || answer.ClusterID == "" || len(answer.SFTP) == 0 {
		return nil, fmt.Errorf("%s answered the enrolment without site, cluster or SFTP address; is it a coordinator?", base)
	}
	return &answer, nil
}
