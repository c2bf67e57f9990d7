package jobs

import (
	"time"

	"consort/coordinator/command"
	"consort/shared/siteapi"
)

// maxConfigName bounds the bytes of the path of a configuration file, so that facts fit into a command.
const maxConfigName = 255

// facts turns what an agent says into what the log keeps.
func facts(f siteapi.Facts) *command.Facts {
	c := &command.Facts{
		BatchSystem:  f.BatchSystem,
		BatchId:      f.BatchID,
		Node:         f.Node,
		AgentVersion: f.AgentVersion,
		StagedUs:     micros(f.Staged),
		SubmittedUs:  micros(f.Submitted),
		StartedUs:    micros(f.Started),
		EndedUs:      micros(f.Ended),
		Signal:       f.Signal,
		Reason:       f.Reason,
		Image:        f.Image,
	}
	for _, s := range f.Software {
		c.Software = append(c.Software, &command.Software{Name: s.Name, Version: s.Version})
	}
	for _, r := range f.Configs[:min(len(f.Configs), siteapi.MaxConfigs)] {
		c.Configs = append(c.Configs, &command.Config{Name: clip(r.Name, maxConfigName), Sha256: r.SHA256, Size: r.Size})
	}
	if f.ExitCode != nil {
		code := int32(*f.ExitCode)
		c.ExitCode = &code
	}
	if f.Usage != nil {
		c.Usage = &command.Usage{CpuSeconds: f.Usage.CPUSeconds, WallSeconds: f.Usage.WallSeconds, MaxRssBytes: f.Usage.MaxRSSBytes}
	}
	for _, l := range f.Logs {
		c.Logs = append(c.Logs, &command.Log{Name: l.Name, Sha256: l.SHA256, Size: l.Size, FullSize: l.FullSize})
	}
	for _, t := range f.Transfers {
		c.Transfers = append(c.Transfers, &command.Transfer{
			Out: t.Out, Name: t.Name, Bytes: t.Bytes, Files: t.Files, Protocol: t.Protocol,
			StartUs: micros(t.Start), EndUs: micros(t.End), Sha256: t.SHA256,
		})
	}
	return c
}

func fragment(f *siteapi.Fragment) *command.Fragment {
	if f == nil {
		return nil
	}
	return &command.Fragment{Number: f.Number, Payload: f.Payload, Signature: f.Signature}
}

// micros gives t as the log keeps times; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
