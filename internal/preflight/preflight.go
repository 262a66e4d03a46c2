package preflight

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"triad/internal/images"
)

// Level says how much a finding matters.
type Level string

// The levels of findings.
const (
	OK         Level = "ok"         // as it should be
	Warn       Level = "warn"       // it works, not well or not everywhere
	Fail       Level = "fail"       // clusters will not come up
	Capability Level = "capability" // something that the machine can or cannot do; scenarios that need it are skipped where it cannot
)

// Finding is the outcome of one check.
type Finding struct {
	Check  string // short and fixed, such as "memory"
	OK     bool   // false for a capability that is missing too
	Level  Level
	Detail string // what was found, in words and figures
	Fix    string // the command that makes it good; "" when OK, or when nothing can
}

// Needs is what a run asks of the machine. The zero value of a field asks nothing.
type Needs struct {
	MemoryBytes int64           // of the engine's machine, in all
	DiskBytes   int64           // free where the engine keeps its images; less than half of it is too little
	Ports       map[int]int     // node port -> port of this machine that must be free, or held by a cluster of Triad's
	Images      []string        // references that must be in the engine, or that can be pulled
	Made        map[string]Look // of them, those that no registry has and that are made when they are not in the engine
	NodeImage   string          // asked like the others; also the place to try kernel features in when no node runs
	Node        string          // a running node container to try kernel features in; "" uses NodeImage
	HeldPorts   map[int]bool    // ports that clusters of Triad's hold already
	Sysctls     map[string]int  // least values of kernel settings of the engine's machine
}

// Look says whether an image can be made: of what, or what keeps it from being made and the command that makes that good.
type Look func(ctx context.Context) (detail, fix string)

// DefaultNeeds are those of three clusters with so many nodes in all, without ports and images. 8 GiB is what everything was seen to
// use, with room to work. A loaded node was seen to hold 25 inotify instances; 512 and 524288 are what kind documents for many nodes.
func DefaultNeeds(nodes int) Needs {
	n := Needs{
		MemoryBytes: 8 << 30,
		DiskBytes:   15 << 30,
		Sysctls:     map[string]int{"fs.inotify.max_user_instances": 128, "fs.inotify.max_user_watches": 65536},
	}
	if nodes > 3 {
		n.MemoryBytes = 12 << 30
		n.Sysctls = map[string]int{"fs.inotify.max_user_instances": 512, "fs.inotify.max_user_watches": 524288}
	}
	return n
}

// Run makes every check and returns the findings in a fixed order. When no engine answers it returns that one finding and what can be
// found without. It never fails: what cannot be found out is a finding.
func Run(ctx context.Context, n Needs) []Finding {
	var out []Finding
	add := func(f Finding) { out = append(out, f) }
	e, info, err := images.FindEngine(ctx)
	add(engineFinding(info, err))
	if n.Ports != nil {
		out = append(out, portFindings(n.Ports, n.HeldPorts)...)
	}
	if err != nil {
		return out
	}
	add(architecture(info))
	add(cgroup(info))
	add(desktop(info))
	add(memory(info, n.MemoryBytes))
	add(disk(e, info, n.DiskBytes))
	host := hostCommand(e, n)
	out = append(out, sysctls(ctx, host, info, n.Sysctls)...)
	refs := slices.Clone(n.Images)
	if n.NodeImage != "" {
		refs = append([]string{n.NodeImage}, refs...)
	}
	out = append(out, imageFindings(ctx, e, refs, n.Made)...)
	if n.Node == "" && n.NodeImage == "" {
		return out // there is no place to try them in
	}
	return append(out, kernelFeatures(ctx, host)...)
}

// lookTimeout bounds how long Limits waits for the engine.
const lookTimeout = 5 * time.Second

// Limits returns what can be said of the machine's limits without starting anything: kernel settings, and where an engine answers its
// memory and disk. It never fails: what cannot be found out is a finding.
func Limits(ctx context.Context, n Needs) []Finding {
	nowhere := func(context.Context, string) (string, error) { return "", fmt.Errorf("nothing is started to look") }
	ctx, cancel := context.WithTimeoutCause(ctx, lookTimeout, fmt.Errorf("no answer within %s", lookTimeout))
	defer cancel()
	e, info, err := images.FindEngine(ctx)
	if err != nil {
		return append([]Finding{engineFinding(info, err)}, sysctls(ctx, nowhere, info, n.Sysctls)...)
	}
	return append([]Finding{memory(info, n.MemoryBytes), disk(e, info, n.DiskBytes)}, sysctls(ctx, nowhere, info, n.Sysctls)...)
}

// Bad returns the findings that keep clusters from coming up.
func Bad(all []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(all), func(f Finding) bool { return f.Level != Fail })
}

func good(check, detail string) Finding {
	return Finding{Check: check, OK: true, Level: OK, Detail: detail}
}

func bad(level Level, check, detail, fix string) Finding {
	return Finding{Check: check, Level: level, Detail: detail, Fix: fix}
}

func engineFinding(info images.EngineInfo, err error) Finding {
	if err == nil {
		kind := ""
		if info.Rootless {
			kind = ", rootless"
		}
		return good("engine", fmt.Sprintf("%s %s answers (%s%s)", info.Name, info.Version, info.OS, kind))
	}
	fix := "start the engine: `sudo systemctl start docker` (or `podman system service`), and check `docker info`"
	if runtime.GOOS == "darwin" {
		fix = "start Docker Desktop: `open -a Docker`, and check `docker info`"
	}
	if strings.Contains(err.Error(), "permission denied") {
		fix = "let your user use the engine: `sudo usermod -aG docker $USER`, then log in again"
	}
	if strings.Count(err.Error(), "executable file not found") >= 2 {
		fix = "install Docker Engine (https://docs.docker.com/engine/install/) or Podman, or use `--runtime embedded`, which needs neither"
	}
	return bad(Fail, "engine", err.Error(), fix)
}

func architecture(info images.EngineInfo) Finding {
	if info.Arch == "amd64" || info.Arch == "arm64" {
		return good("architecture", info.Arch)
	}
	return bad(Warn, "architecture", info.Arch+": the public images are made for amd64 and arm64", "give an image set for this architecture: `--images FILE`")
}

func cgroup(info images.EngineInfo) Finding {
	if info.CgroupVersion == "2" {
		return good("cgroup", "version 2")
	}
	if info.Rootless {
		return bad(Fail, "cgroup", "version "+info.CgroupVersion+": a rootless engine needs version 2", "boot with `systemd.unified_cgroup_hierarchy=1` on the kernel command line")
	}
	return bad(Warn, "cgroup", "version "+info.CgroupVersion+": kubelets from 1.35 on refuse it, older node images run", "boot with `systemd.unified_cgroup_hierarchy=1` on the kernel command line, or set TRIAD_NODE_IMAGE to one of 1.34 or older")
}

func desktop(info images.EngineInfo) Finding {
	if !info.Desktop {
		return good("container network", "node addresses are reachable from here")
	}
	return Finding{Check: "container network", OK: true, Level: OK, Detail: "the engine runs in a virtual machine: brokers and stores are reached through mapped ports on 127.0.0.1"}
}

func memory(info images.EngineInfo, need int64) Finding {
	detail := fmt.Sprintf("the engine has %d MiB, %d MiB are needed", info.MemoryBytes>>20, need>>20)
	if info.MemoryBytes >= need {
		return good("memory", detail)
	}
	fix := "close other programs or use a larger machine; `--runtime embedded` needs 1 GiB"
	if info.Desktop {
		fix = fmt.Sprintf("give the virtual machine more: Docker Desktop, Settings, Resources, Memory: at least %d GB (Podman: `podman machine set --memory %d`)", need>>30, need>>20)
	}
	return bad(Fail, "memory", detail, fix)
}

func disk(e images.Engine, info images.EngineInfo, need int64) Finding {
	fix := fmt.Sprintf("free some: `%s system df`, `%s image prune -a`", e.Bin, e.Bin)
	free, err := freeBytes(info.RootDir)
	if err != nil || info.Desktop {
		// The engine's disk is not this machine's.
		return bad(Warn, "disk", "how much is free is not known from here", fmt.Sprintf("look with `%s system df`; %d GiB are needed", e.Bin, need>>30))
	}
	detail := fmt.Sprintf("%d GiB are free in %s, %d are needed for images and volumes", free>>30, info.RootDir, need>>30)
	switch {
	case free >= need:
		return good("disk", detail)
	case free >= need/2: // most of it are images, and some of them may be there
		return bad(Warn, "disk", detail, fix)
	}
	return bad(Fail, "disk", detail, fix)
}

// portFindings looks whether ports of this machine can be listened on. Ports that clusters of Triad's hold are as they should be.
func portFindings(ports map[int]int, held map[int]bool) []Finding {
	var taken []string
	var all []int
	for nodePort, port := range ports {
		all = append(all, port)
		if held[port] {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) //nolint:noctx // a loopback listener opens at once
		if err != nil {
			taken = append(taken, fmt.Sprintf("%d (for node port %d)", port, nodePort))
			continue
		}
		_ = l.Close()
	}
	sort.Ints(all)
	sort.Strings(taken)
	if len(taken) == 0 {
		return []Finding{good("ports", fmt.Sprintf("%v are free or held by Triad's clusters", all))}
	}
	return []Finding{bad(Fail, "ports", "in use on 127.0.0.1: "+strings.Join(taken, ", "),
		"see who, and end it: `ss -ltnp` (macOS: `lsof -nP -iTCP -sTCP:LISTEN`); clusters of an older run: `make down`")}
}

// runner runs a shell script where the kernel of the engine's machine can be asked: in a node, or in a container of the node image.
type runner func(ctx context.Context, script string) (string, error)

// probeTimeout bounds one look at the kernel. Starting a container takes about a second.
const probeTimeout = 30 * time.Second

func hostCommand(e images.Engine, n Needs) runner {
	return func(ctx context.Context, script string) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		if n.Node != "" {
			return e.Run(ctx, "exec", n.Node, "sh", "-c", script)
		}
		if n.NodeImage == "" {
			return "", fmt.Errorf("neither a node nor a node image to look with")
		}
		// Not pulled for this: a node image that is not there has a finding of its own.
		return e.Run(ctx, "run", "--rm", "--pull=never", "--network=none", "--cap-add=NET_ADMIN", "--entrypoint", "sh", n.NodeImage, "-c", script)
	}
}

func sysctls(ctx context.Context, host runner, info images.EngineInfo, want map[string]int) []Finding {
	var out []Finding
	names := make([]string, 0, len(want))
	for k := range want {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, name := range names {
		path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
		var text string
		b, err := os.ReadFile(path)
		text = string(b)
		if info.Desktop || err != nil {
			text, err = host(ctx, "cat "+path)
		}
		have, perr := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || perr != nil {
			out = append(out, bad(Warn, name, "not known from here", fmt.Sprintf("on the engine's machine: `sysctl %s`, at least %d", name, want[name])))
			continue
		}
		detail := fmt.Sprintf("%d, at least %d is needed", have, want[name])
		if have >= want[name] {
			out = append(out, good(name, detail))
			continue
		}
		key := name[strings.LastIndex(name, ".")+1:]
		out = append(out, bad(Fail, name, detail, fmt.Sprintf("`sudo sysctl -w %s=%d`, and to keep it: `echo %s=%d | sudo tee /etc/sysctl.d/99-triad-%s.conf`",
			name, raised(name), name, raised(name), key)))
	}
	return out
}

// raised is the value to which a kernel setting is raised when it is too low: kind's documented ones, so that it is done once.
func raised(name string) int {
	if strings.HasSuffix(name, "watches") {
		return 1048576
	}
	return 8192
}

func imageFindings(ctx context.Context, e images.Engine, refs []string, made map[string]Look) []Finding {
	var there, missing []string
	for _, ref := range refs {
		id, err := e.ImageID(ctx, ref)
		switch {
		case err != nil:
			return []Finding{bad(Warn, "images", err.Error(), "look with `"+e.Bin+" images`")}
		case id != "":
			there = append(there, ref)
		default:
			missing = append(missing, ref)
		}
	}
	if len(refs) > 0 && len(missing) == 0 {
		return []Finding{good("images", fmt.Sprintf("all %d are in the engine", len(there)))}
	}
	out := make([]Finding, len(missing))
	var wg sync.WaitGroup
	for i, ref := range missing {
		wg.Go(func() { out[i] = missingImage(ctx, e, ref, made[ref]) })
	}
	wg.Wait()
	return out
}

func missingImage(ctx context.Context, e images.Engine, ref string, made Look) Finding {
	if made != nil {
		detail, fix := made(ctx)
		if fix != "" {
			return bad(Fail, "image "+ref, "not in the engine, and in no registry: "+detail, fix+"; or an image set with one that you have: `--images FILE`")
		}
		return good("image "+ref, "not in the engine, will be made: "+detail)
	}
	if err := pullable(ctx, e, ref); err != nil {
		return bad(Fail, "image "+ref, "not in the engine, and its registry does not give it: "+lastLine(err.Error()),
			fmt.Sprintf("`%s pull %s` on a machine that can, or an image set with one that you have: `--images FILE`", e.Bin, ref))
	}
	return good("image "+ref, "not in the engine, can be pulled")
}

// pullable asks a registry for an image's manifest, without taking the image.
func pullable(ctx context.Context, e images.Engine, ref string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 15*time.Second, fmt.Errorf("no answer within 15 s"))
	defer cancel()
	_, err := e.Run(ctx, "manifest", "inspect", ref)
	return err
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// kernelFeatures tries what faults need. Each attempt is made on a device of its own that goes with its network.
func kernelFeatures(ctx context.Context, host runner) []Finding {
	const dev = "triad-try"
	tries := []struct{ check, script, fix, without string }{
		{
			"netem", "ip link add " + dev + " type veth peer name triad-peer && tc qdisc add dev " + dev + " root netem delay 1ms; r=$?; ip link del " + dev + "; exit $r",
			"`sudo modprobe sch_netem` on the engine's machine", "links cannot be delayed by the kernel",
		},
		{
			"bandwidth", "ip link add " + dev + " type veth peer name triad-peer && tc qdisc add dev " + dev + " root handle 1: htb default 1 && tc filter add dev " + dev + " parent 1: protocol ip u32 match ip dst 192.0.2.1/32 flowid 1:1; r=$?; ip link del " + dev + "; exit $r",
			"`sudo modprobe sch_htb cls_u32` on the engine's machine", "links cannot be made slow",
		},
		{
			"packet filter", "iptables -N " + dev + " && iptables -A " + dev + " -p tcp -m multiport --dports 1,2 -m comment --comment x -j REJECT --reject-with tcp-reset && iptables -A " + dev + " -m conntrack --ctstate ESTABLISHED -j RETURN; r=$?; iptables -F " + dev + "; iptables -X " + dev + "; exit $r",
			"`sudo modprobe xt_multiport xt_comment ipt_REJECT xt_conntrack` on the engine's machine", "flows are not enforced, and links cannot be cut",
		},
	}
	var out []Finding
	for _, t := range tries {
		if _, err := host(ctx, t.script); err != nil {
			out = append(out, bad(Capability, t.check, t.without+": "+lastLine(err.Error()), t.fix))
			continue
		}
		out = append(out, Finding{Check: t.check, OK: true, Level: Capability, Detail: "the kernel can"})
	}
	return out
}
