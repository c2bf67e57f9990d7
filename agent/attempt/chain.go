package attempt

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"consort/agent/journal/wal"
	"consort/shared/siteapi"
)

// Chain numbers the fragments of provenance that this site signs, and remembers of each its hash, which the
// next one names. A number that was given out once is never given out for other bytes, also not after a
// power cut; numbers may be missing, when the agent was killed before it sent a fragment.
type Chain struct {
	mu   sync.Mutex
	log  *wal.Log
	last link
}

// link is one line of the log.
type link struct {
	Number uint64 `json:"number"`
	SHA256 string `json:"sha256"` // of the payload
	Job    string `json:"job"`
	Epoch  uint64 `json:"epoch"`
}

// maxChain is the length in bytes of a log of which only the last link is kept at the next start.
const maxChain = 8 << 20

// OpenChain opens the log at path or makes a new one.
func OpenChain(path string) (*Chain, error) {
	c := &Chain{}
	log, _, err := wal.Open(path, func(record []byte) error { return json.Unmarshal(record, &c.last) })
	if err != nil {
		return nil, fmt.Errorf("open the list of fragments: %w", err)
	}
	c.log = log
	if log.Size() > maxChain {
		err = c.shorten()
	}
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return c, nil
}

func (c *Chain) shorten() error {
	record, err := json.Marshal(c.last)
	if err != nil {
		return err
	}
	one := iter.Seq[[]byte](slices.Values([][]byte{record}))
	if err := c.log.Compact(one); err != nil {
		return fmt.Errorf("shorten the list of fragments: %w", err)
	}
	return nil
}

// Sign gives payload the next number and the hash of the fragment before, signs it, and returns when the
// number is on disk.
func (c *Chain) Sign(key ed25519.PrivateKey, payload siteapi.FragmentPayload) (*siteapi.Fragment, error) {
	f, err := c.add(key, payload)
	if err != nil {
		return nil, err
	}
	if err := c.log.Sync(); err != nil {
		return nil, fmt.Errorf("keep the number of a fragment: %w", err)
	}
	return f, nil
}

func (c *Chain) add(key ed25519.PrivateKey, payload siteapi.FragmentPayload) (*siteapi.Fragment, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	payload.Number, payload.Previous = c.last.Number+1, c.last.SHA256
	f, err := siteapi.SignFragment(key, payload)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(f.Payload)
	next := link{Number: f.Number, SHA256: hex.EncodeToString(sum[:]), Job: payload.Job, Epoch: payload.Epoch}
	record, err := json.Marshal(next)
	if err != nil {
		return nil, err
	}
	if err := c.log.Append(record); err != nil {
		return nil, fmt.Errorf("keep the number of a fragment: %w", err)
	}
	c.last = next
	return f, nil
}

// Close closes the log.
func (c *Chain) Close() error { return c.log.Close() }
