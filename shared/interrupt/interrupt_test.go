package interrupt

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// TestMain lets the test binary play a program that takes its time to stop.
func TestMain(m *testing.M) {
	if os.Getenv("INTERRUPT_TEST_CHILD") == "" {
		os.Exit(m.Run())
	}
	ctx := Context()
	os.Stdout.WriteString("ready\n")
	<-ctx.Done()
	os.Stdout.WriteString("stopping\n")
	if os.Getenv("INTERRUPT_TEST_CHILD") == "hangs" {
		select {}
	}
	var more [1]byte
	os.Stdin.Read(more[:]) // until the test has sent its second signal
	os.Exit(0)
}

func child(t *testing.T, behaviour string) (*exec.Cmd, func(line string)) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "INTERRUPT_TEST_CHILD="+behaviour)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, func(line string) {
		got := make([]byte, len(line)+1)
		for n := 0; n < len(got); {
			m, err := out.Read(got[n:])
			if err != nil {
				t.Fatalf("read %q: %v", got[:n], err)
			}
			n += m
		}
		if string(got) != line+"\n" {
			t.Fatalf("the child says %q, want %q", got, line)
		}
	}
}

func TestSignalTwice(t *testing.T) {
	cmd, says := child(t, "stops")
	says("ready")
	cmd.Process.Signal(syscall.SIGTERM)
	says("stopping")
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil { // standard input is /dev/null: it goes on at once
		t.Errorf("a signal repeated at once spoiled the exit: %v", err)
	}
}

func TestSecondSignalEndsAHangingProgram(t *testing.T) {
	cmd, says := child(t, "hangs")
	says("ready")
	cmd.Process.Signal(os.Interrupt)
	says("stopping")
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case <-ended:
			status := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if !status.Signaled() || status.Signal() != syscall.SIGINT {
				t.Errorf("ended with %v, want an interrupt", cmd.ProcessState)
			}
			return
		default:
			cmd.Process.Signal(os.Interrupt)
		}
	}
}
