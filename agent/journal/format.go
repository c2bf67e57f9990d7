package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"consort/shared/atomicfile"
)

const (
	kind          = "consort agent journal"
	formatVersion = 1
)

// format is the content of FORMAT, which says what a directory is and to whom it belongs.
type format struct {
	Kind    string `json:"kind"`
	Version int    `json:"version"`
	Cluster string `json:"cluster"`
	Site    string `json:"site"`
}

// checkFormat compares FORMAT with the configuration, and writes it in an empty directory.
func checkFormat(cfg Config) error {
	if cfg.Cluster == "" || cfg.Site == "" {
		return fmt.Errorf("%w: the cluster and the site must be known first", ErrForeign)
	}
	path := filepath.Join(cfg.Dir, "FORMAT")
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return writeFormat(cfg, path)
	}
	if err != nil {
		return err
	}
	var f format
	if err := json.Unmarshal(data, &f); err != nil || f.Kind != kind {
		return fmt.Errorf("%w: FORMAT does not describe a %s", ErrForeign, kind)
	}
	switch {
	case f.Version > formatVersion:
		return fmt.Errorf("%w: %d, and this program writes %d; run the newer program", ErrNewer, f.Version, formatVersion)
	case f.Version != formatVersion:
		return fmt.Errorf("%w: FORMAT has version %d", ErrForeign, f.Version)
	case f.Cluster != cfg.Cluster || f.Site != cfg.Site:
		return fmt.Errorf("%w: it belongs to site %q of cluster %q, and this is site %q of cluster %q",
			ErrForeign, f.Site, f.Cluster, cfg.Site, cfg.Cluster)
	}
	return nil
}

func writeFormat(cfg Config, path string) error {
	if _, err := os.Stat(filepath.Join(cfg.Dir, "log")); err == nil {
		return fmt.Errorf("%w: there is a log but no FORMAT", ErrForeign)
	}
	data, err := json.Marshal(format{kind, formatVersion, cfg.Cluster, cfg.Site})
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write FORMAT: %w", err)
	}
	return nil
}

// lockDir takes the directory for this process. The lock ends with the process, however it ends.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the journal: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := io.ReadAll(io.LimitReader(f, 64))
		f.Close()
		return nil, fmt.Errorf("%w: %s is held by %s", ErrLocked, dir, strings.TrimSpace(string(holder)))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the journal: %w", err)
	}
	// Who holds it is for people only, so an error here does no harm.
	if f.Truncate(0) == nil {
		_, _ = fmt.Fprintf(f, "process %d\n", os.Getpid())
	}
	return f, nil
}
