package coordinator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"consort/coordinator/replica"
	"consort/coordinator/state"
)

var (
	// ErrIncomplete is returned by Start for a data directory of which a part is missing.
	ErrIncomplete = errors.New("data directory is incomplete")
	// ErrForeign is returned by Start for a data directory with a part of another cluster.
	ErrForeign = errors.New("data directory has a part of another cluster")
)

const (
	statePart   = "state/CURRENT"
	uncheckable = "only the state tells whether the log is whole, and a log that was cut off would lose jobs"
	everyChange = "every change would be lost"
)

// dataParts are what a data directory holds, in the order in which the first start makes it: where one is,
// those before it must be.
var dataParts = []struct{ path, without string }{
	{"pki/ssh_host_ed25519_key", "sites would refuse a new host key"},
	{"content/sha256", "inputs and results would be lost"},
	{statePart, uncheckable},
	{"pki/ca.crt", "the nodes of the cluster would refuse a new authority"},
	{"pki/ca.key", "the nodes of the cluster would refuse a new authority"},
	{"pki/node.crt", "other nodes would not know this one"},
	{"pki/node.key", "other nodes would not know this one"},
	{"raft", everyChange},
	{"raft/FORMAT", everyChange},
	{"raft/log/wal-meta.db", everyChange},
}

// checkParts refuses a data directory of which a part is missing, before anything is made in its place. A
// first start that was cut off lacks the last parts only, and goes on. A missing state is not made again from the
// log: damage in the middle of a log looks like an end that a power cut left, and only the state knows better.
func checkParts(dir string) error {
	var missing []int
	last := -1
	for i, p := range dataParts {
		_, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(p.path)))
		switch {
		case err == nil:
			last = i
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, i)
		default:
			return fmt.Errorf("look at the data directory: %w", err)
		}
	}
	for _, i := range missing {
		p := dataParts[i]
		used := i < last
		if p.path == statePart && !used {
			var err error
			if used, err = hasContent(dir); err != nil {
				return err
			}
		}
		if used {
			return incomplete(dir, p.path, p.without)
		}
	}
	return nil
}

// hasContent tells whether there is any file in the content of a data directory. The first comes after the
// first change.
func hasContent(dir string) (bool, error) {
	found := false
	err := filepath.WalkDir(filepath.Join(dir, "content"), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		found = true
		return fs.SkipAll
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look for content: %w", err)
	}
	return found, nil
}

func incomplete(dir, part, without string) error {
	return fmt.Errorf("%w: %s is missing in %s: %s; restore the whole data directory from one backup, or choose an empty one to begin anew",
		ErrIncomplete, part, dir, without)
}

// checkState refuses a state of another cluster, one whose log is missing, and an empty one beside content.
func (s *Server) checkState() error {
	known, err := s.stateCluster()
	if err != nil {
		return err
	}
	if known != "" && known != s.identity.Cluster {
		return fmt.Errorf("%w: the state in %s is of cluster %s, the directory of cluster %s; put back the state that belongs to it",
			ErrForeign, s.dir("state"), known, s.identity.Cluster)
	}
	index, _ := s.state.Applied()
	if _, err := os.Lstat(s.dir("raft/log")); index > 0 && errors.Is(err, fs.ErrNotExist) {
		return incomplete(s.cfg.Dir, "raft/log", everyChange)
	}
	if index > 0 {
		return nil
	}
	used, err := hasContent(s.cfg.Dir)
	if err == nil && used {
		err = incomplete(s.cfg.Dir, "what should be in state", uncheckable)
	}
	return err
}

// stateCluster is the cluster that the state is of, "" before that was said.
func (s *Server) stateCluster() (id string, err error) {
	err = s.state.View(func(v *state.View) error {
		id, _ = v.Cluster()
		return nil
	})
	return id, err
}

// checkVoters refuses a log that knows no cluster, or one without this node: no leader would ever come.
func (s *Server) checkVoters() error {
	voters := s.replica.Status().Voters
	if len(voters) == 0 {
		return incomplete(s.cfg.Dir, "what should be in raft/log", everyChange)
	}
	if !slices.ContainsFunc(voters, func(v replica.Server) bool { return v.ID == s.identity.Node }) {
		return fmt.Errorf("%w: the log in %s is of node %s, the directory of node %s; put back the log that belongs to it",
			ErrForeign, s.dir("raft"), voters[0].ID, s.identity.Node)
	}
	return nil
}
