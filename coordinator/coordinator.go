// Package coordinator is one node of a coordinator cluster: it builds, starts and stops everything below, in
// one readable order. What the parts do is in their packages; flags and files are the caller's.
package coordinator

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/ssh"

	"consort/coordinator/api"
	apiprov "consort/coordinator/api/prov"
	"consort/coordinator/api/provform"
	"consort/coordinator/api/rest"
	apisites "consort/coordinator/api/sites"
	"consort/coordinator/api/uws"
	"consort/coordinator/auth"
	"consort/coordinator/command"
	"consort/coordinator/content"
	"consort/coordinator/definitions"
	"consort/coordinator/jobs"
	"consort/coordinator/peer"
	"consort/coordinator/pki"
	"consort/coordinator/provenance"
	"consort/coordinator/replica"
	"consort/coordinator/scheduler"
	"consort/coordinator/sites"
	"consort/coordinator/state"
	"consort/coordinator/watch"
	"consort/shared/siteapi"
	"consort/shared/telemetry/metrics"
	"consort/shared/tlsconfig"
)

// startTimeout bounds how long Start waits for the cluster to have a leader.
const startTimeout = 30 * time.Second

// Server is a running coordinator.
type Server struct {
	cfg      Config
	identity replica.Identity
	claim    *replica.Claim
	hostKey  ssh.Signer
	registry *prometheus.Registry

	hub     *watch.Hub
	files   *content.Store
	uploads *content.Uploads
	state   *state.Store
	port    *peer.Port
	replica *replica.Replica
	ledger  *ledger

	definitions *definitions.Service
	jobs        *jobs.Service
	sites       *sites.Service
	scheduler   *scheduler.Scheduler
	provenance  *provenance.Service
	leading     leaderWork

	http, sftp, probes net.Listener // probes: metrics and health, nil when not configured
	fronts             fronts

	stopOnce sync.Once
	stopErr  error
}

// Start brings a coordinator up and returns when it can serve. On error nothing of it is left running.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, hub: watch.New(), registry: metrics.NewRegistry()}
	if err := s.start(ctx); err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return nil, errors.Join(err, s.Stop(stop))
	}
	return s, nil
}

// start goes from the disk outwards: nothing answers before what it needs is there.
func (s *Server) start(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		s.openIdentity, s.listen, s.openContent, s.openState, s.openReplica, s.build, s.lead, s.serve,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// openIdentity finds out who this node is, or makes cluster id, node id, authority of certificates and host
// key at the first start.
func (s *Server) openIdentity(context.Context) error {
	id, err := replica.ReadIdentity(s.cfg.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		id, err = replica.Identity{Cluster: pki.NewID(), Node: pki.NewID()}, nil
	}
	if err != nil {
		return err
	}
	if s.claim, err = replica.ClaimDir(s.cfg.Dir, id); err != nil {
		return err
	}
	s.identity = id
	if err := checkParts(s.cfg.Dir); err != nil {
		return err
	}
	if s.cfg.Authority == "" {
		s.cfg.Authority = defaultAuthority(id.Cluster)
	}
	s.hostKey, err = pki.EnsureHostKey(s.dir("pki"))
	return err
}

func (s *Server) dir(name string) string { return filepath.Join(s.cfg.Dir, name) }

// listen takes the ports early, so that one in use is told before anything is opened; serving comes last.
func (s *Server) listen(context.Context) error {
	for _, l := range []struct {
		key, address string
		into         *net.Listener
	}{{"http", s.cfg.HTTP, &s.http}, {"sftp", s.cfg.SFTP, &s.sftp}, {"metrics", s.cfg.Metrics, &s.probes}} {
		if l.address == "" {
			continue
		}
		listener, err := net.Listen("tcp", l.address)
		if err != nil {
			if errors.Is(err, syscall.EADDRINUSE) {
				err = fmt.Errorf("%w; is another consort running? choose another address for %s", err, l.key)
			}
			return fmt.Errorf("%s: %w", l.key, err)
		}
		*l.into = listener
	}
	if s.cfg.TLSCert == "" {
		return nil
	}
	conf, err := tlsconfig.Server(s.cfg.TLSCert, s.cfg.TLSKey, func(err error) {
		s.cfg.Logger.Error("the renewed TLS certificate is not used", "error", err)
	})
	if err != nil {
		return fmt.Errorf("tls_cert, tls_key: %w", err)
	}
	s.http = tls.NewListener(s.http, conf)
	return nil
}

func (s *Server) openContent(context.Context) (err error) {
	s.files, err = content.Open(content.Config{Dir: s.dir("content"), Logger: s.cfg.Logger.With("part", "content")})
	return err
}

func (s *Server) openState(context.Context) (err error) {
	s.state, err = state.Open(state.Config{
		Dir: s.dir("state"), Logger: s.cfg.Logger.With("part", "state"), Publish: publish(s.hub),
	})
	if err != nil {
		return err
	}
	return s.checkState()
}

func (s *Server) openReplica(context.Context) error {
	ca, err := pki.EnsureAuthority(s.dir("pki"), s.identity.Cluster)
	if err != nil {
		return err
	}
	node, err := ca.EnsureNode(s.dir("pki"), s.identity.Node)
	if err != nil {
		return err
	}
	s.port, err = peer.Listen(peer.Config{
		Listen: s.cfg.Peer, TLS: node.PeerTLS(), PeerID: node.PeerID, Logger: s.cfg.Logger.With("part", "peer"),
	})
	if err != nil {
		return fmt.Errorf("peer: %w", err)
	}
	s.replica, err = replica.Open(replica.Config{
		Dir: s.dir("raft"), Identity: s.identity, Machine: machine{s.state}, Peer: s.port,
		Bootstrap:     []replica.Server{{ID: s.identity.Node, Address: s.port.Addr().String()}},
		LeaderStarted: leaderStarted(s.identity.Node),
		LastTime:      s.state.LastTime,
		Stamp:         command.Stamp,
		EncodeResult:  encodeResult, DecodeResult: decodeResult,
		Restored:      s.hub.WakeAll,
		Logger:        s.cfg.Logger.With("part", "raft"),
		Registerer:    s.registry,
		SnapshotBytes: s.cfg.SnapshotBytes,
	})
	if err != nil {
		return err
	}
	return s.checkVoters()
}

// build makes the use cases.
func (s *Server) build(context.Context) error {
	if err := s.checkAuthority(); err != nil {
		return err
	}
	guard, err := auth.New(s.cfg.Auth)
	if err != nil {
		return err
	}
	s.ledger = &ledger{replica: s.replica, files: s.files}
	s.definitions = definitions.New(s.ledger, s.state, s.files)
	s.sites = sites.New(sites.Config{Log: s.ledger, State: s.state, Guard: guard, Now: s.ledger.now, SFTP: s.sftpAddresses, Disconnect: s.disconnect})
	leases := &lateLeases{}
	s.uploads = content.NewUploads(s.files, leases, s.cfg.Logger.With("part", "uploads"))
	s.jobs = jobs.New(jobs.Config{
		Log: s.ledger, State: s.state, Files: s.files, Uploads: s.uploads, Definitions: s.definitions,
		Guard: guard, Hub: s.hub, Logger: s.cfg.Logger.With("part", "jobs"), Now: s.ledger.now,
	})
	leases.jobs = s.jobs
	s.scheduler = scheduler.New(scheduler.Config{
		Log: s.ledger, State: s.state, Specs: s.jobs, Watched: s.jobs, Files: s.files,
		Uploads: s.uploads, Hub: s.hub, Logger: s.cfg.Logger.With("part", "scheduler"),
		Now: s.ledger.now, SFTP: s.sftpAddresses, Contact: s.cfg.Contact, ContentGrace: s.cfg.ContentGrace,
		Grace: s.cfg.LeaseGrace, Overrun: s.cfg.Overrun,
	})
	records, err := s.records(guard)
	if err != nil {
		return err
	}
	s.provenance = records
	s.fronts.api, err = api.New(api.Config{
		Surfaces: s.surfaces(guard, records), Guard: guard, Logger: s.cfg.Logger.With("part", "http"), Ready: s.ready,
		Registerer: s.registry, PublicURL: s.cfg.PublicURL, LocalOnly: s.cfg.LocalOnly,
	})
	return err
}

// records makes the use cases of provenance. The host key is the secret that all nodes share: an Ed25519 signature
// with it is always the same, and nobody else can make it.
func (s *Server) records(guard *auth.Guard) (*provenance.Service, error) {
	secret, err := s.hostKey.Sign(rand.Reader, []byte("ids of redacted nodes"))
	if err != nil {
		return nil, fmt.Errorf("make a secret of the host key: %w", err)
	}
	return provenance.New(provenance.Config{
		Jobs: s.jobs, Definitions: s.definitions, Log: s.ledger, State: s.state, Files: s.files, Guard: guard,
		Version: s.cfg.Version, Secret: secret.Blob,
	}), nil
}

// surfaces are the groups of routes.
func (s *Server) surfaces(guard *auth.Guard, records *provenance.Service) []api.Surface {
	authority := func() string {
		_, authority := s.cluster()
		return authority
	}
	crates := provform.Crates{Jobs: s.jobs, Provenance: records, Authority: authority}
	return []api.Surface{
		uws.New(uws.Config{
			Jobs: s.jobs, Definitions: s.definitions, Provenance: records, Crates: crates, Authority: authority, Guard: guard, Files: s.files,
			SilentSince: s.scheduler.SilentSince, Explain: s.scheduler.Explain, Available: s.ready, Started: time.Now(),
		}),
		rest.New(rest.Config{
			Jobs: s.jobs, Definitions: s.definitions, Sites: s.sites, Scheduler: s.scheduler, Provenance: records, Crates: crates,
			Version: s.cfg.Version, Cluster: s.cluster,
		}),
		apiprov.New(apiprov.Config{Provenance: records, Crates: crates}),
		apisites.New(apisites.Config{Sites: s.sites, Jobs: s.jobs, Scheduler: s.scheduler}),
	}
}

// ready tells why this node can't serve, nil when it can.
func (s *Server) ready() error {
	if err := s.replica.Ready(); err != nil {
		return err
	}
	soft, _, err := s.files.Low()
	if err == nil && soft {
		err = content.ErrDiskLow
	}
	return err
}

// lateLeases breaks the circle between uploads, which ask jobs for leases, and jobs, which have uploads
// sealed.
type lateLeases struct{ jobs *jobs.Service }

func (l *lateLeases) UploadLease(ctx context.Context, site, job string, epoch uint64) (content.Lease, error) {
	return l.jobs.UploadLease(ctx, site, job, epoch)
}

// disconnect cuts a site's SFTP sessions.
func (s *Server) disconnect(site string) {
	if s.fronts.server != nil {
		s.fronts.server.Disconnect(site)
	}
}

func (s *Server) sftpAddresses() []siteapi.SFTP {
	address := s.cfg.PublicSFTP
	if address == "" {
		address = s.sftp.Addr().String()
	}
	return []siteapi.SFTP{{Address: address, HostKey: hostKeyText(s.hostKey)}}
}

// Provenance is the use cases of provenance.
func (s *Server) Provenance() *provenance.Service { return s.provenance }

// Addresses are where a server listens.
type Addresses struct{ HTTP, SFTP, Peer, Metrics string }

// Addresses tells where the server listens, with the ports it really has.
func (s *Server) Addresses() Addresses {
	a := Addresses{HTTP: s.http.Addr().String(), SFTP: s.sftp.Addr().String(), Peer: s.port.Addr().String()}
	if s.probes != nil {
		a.Metrics = s.probes.Addr().String()
	}
	return a
}

// ClusterID is the id of the cluster this node belongs to.
func (s *Server) ClusterID() string { return s.identity.Cluster }

// Problems are the job definitions that were left out at the start, with file, line and key.
func (s *Server) Problems() []string { return s.definitions.Problems() }
