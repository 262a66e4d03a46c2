package images

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// Shell is a shell in a container that stays open and answers one script after another, for one who asks. A client of an engine takes some 40 ms of a processor to
// start, which is much for what is asked every few seconds. Behind an error it is closed: open another.
type Shell struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	pipe   io.Closer
	out    *bufio.Reader
	stderr bytes.Buffer
	asked  int
	args   []string
}

// Shell opens a shell in a container. It does not wait for it: a container that is not there is an error of the first Ask.
func (e Engine) Shell(container string) (*Shell, error) {
	args := []string{"exec", "-i", container, "sh"}
	s := &Shell{cmd: exec.Command(e.Bin, args...), args: append([]string{e.Bin}, args...)} //nolint:noctx // Close ends it
	s.cmd.Stderr, s.cmd.WaitDelay = &s.stderr, pipeWait
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.pipe, s.out = out, bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		return nil, &EngineError{Args: s.args, Err: err}
	}
	return s, nil
}

// Pid is the process of the engine's client.
func (s *Shell) Pid() int { return s.cmd.Process.Pid }

// Ask runs a script, which must not read its standard input, and returns what it printed. When ctx ends first, or the shell is gone, it is an
// error.
func (s *Shell) Ask(ctx context.Context, script string) (string, error) {
	s.asked++
	end := fmt.Sprintf("end of answer %d", s.asked)
	defer context.AfterFunc(ctx, func() {
		_ = s.cmd.Process.Kill()
		_ = s.pipe.Close() // what the shell has started may hold its other end
	})()
	_, err := io.WriteString(s.in, script+"\necho; echo "+end+"\n")
	var answer strings.Builder
	for err == nil {
		var line string
		if line, err = s.out.ReadString('\n'); err == nil && strings.TrimRight(line, "\n") == end {
			return strings.TrimRight(answer.String(), "\n"), nil
		}
		answer.WriteString(line)
	}
	s.Close() // what it said of its end is there once it was waited for
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return "", &EngineError{Args: s.args, Stderr: tail(s.stderr.String(), 2000), Err: err}
}

// Close ends the shell, and what it runs.
func (s *Shell) Close() {
	_ = s.in.Close()
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // killed
}
