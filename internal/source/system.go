package source

// tagged closes a line of free text: the tag as two key=value pairs, then padding.
func (g *gen) tagged(idKey, timeKey string, words *text) {
	g.byte(' ')
	g.str(idKey)
	g.byte('=')
	g.id()
	g.byte(' ')
	g.str(timeKey)
	g.byte('=')
	g.due()
	g.pad(g.room(0), words)
}

// process appends "name[pid]: ".
func (g *gen) process(name string) {
	g.str(name)
	g.byte('[')
	g.num(300 + g.rng.below(65000))
	g.str("]: ")
}

// peer appends " from <ip> port <n>".
func (g *gen) peer() {
	g.str(" from ")
	g.ip(&g.rng)
	g.str(" port ")
	g.num(32768 + g.rng.below(28000))
}

// auth writes auth.log. One line in 16 is RFC 5424, with the tag as structured data (32473 is the enterprise number
// that IANA keeps for examples).
func (g *gen) auth() {
	if g.rng.below(16) == 0 {
		g.str("<86>1 ")
		g.rfc3339(6)
		g.byte(' ')
		g.host()
		g.str(" sshd ")
		g.num(300 + g.rng.below(65000))
		g.str(` - [session@32473 id="`)
		g.id()
		g.str(`" event="`)
		g.due()
		g.str(`"] `)
		g.sshd()
		g.pad(g.room(0), authWords)
		return
	}
	g.bsd()
	switch g.rng.below(8) {
	case 0, 1, 2, 3:
		g.process("sshd")
		g.sshd()
	case 4:
		user := g.rng.pick(users)
		g.process("sudo")
		g.str("  ")
		g.str(user)
		g.str(" : TTY=pts/")
		g.num(g.rng.below(8))
		g.str(" ; PWD=/home/")
		g.str(user)
		g.str(" ; USER=root ; COMMAND=/usr/bin/systemctl restart ")
		g.str(g.rng.pick(units))
	case 5:
		g.process("sudo")
		g.str("pam_unix(sudo:session): session opened for user root(uid=0) by ")
		g.str(g.rng.pick(users))
		g.str("(uid=")
		g.num(1000 + g.rng.below(64))
		g.byte(')')
	case 6:
		g.process("systemd-logind")
		g.str("New session ")
		g.num(1 + g.rng.below(20000))
		g.str(" of user ")
		g.str(g.rng.pick(users))
		g.byte('.')
	default:
		g.process("CRON")
		g.str("pam_unix(cron:session): session closed for user root")
	}
	g.tagged("session", "event", authWords)
}

func (g *gen) sshd() {
	switch g.rng.below(5) {
	case 0:
		g.str("Accepted publickey for ")
		g.str(g.rng.pick(users))
		g.peer()
		g.str(" ssh2: ED25519 SHA256:")
		g.alphabet(&g.rng, base64Letters, 43)
	case 1:
		g.str("Failed password for invalid user ")
		g.str(g.rng.pick(badUsers))
		g.peer()
		g.str(" ssh2")
	case 2:
		g.str("Invalid user ")
		g.str(g.rng.pick(badUsers))
		g.peer()
	case 3:
		g.str("Connection closed by authenticating user root ")
		g.ip(&g.rng)
		g.str(" port ")
		g.num(32768 + g.rng.below(28000))
		g.str(" [preauth]")
	default:
		user := g.rng.pick(users)
		g.str("pam_unix(sshd:session): session opened for user ")
		g.str(user)
		g.str("(uid=")
		g.num(1000 + g.rng.below(64))
		g.str(") by (uid=0)")
	}
}

// bootEvery is the time after which a node of these logs starts again, in seconds: 30 days. The kernel's own stamp
// counts from there.
const bootEvery = 30 * 24 * 3600

// kmsg writes kern.log.
func (g *gen) kmsg() {
	node := g.node
	node.next() // the host took the first
	up := (uint64(g.at.unix) + node.next()%bootEvery) % bootEvery
	g.bsd()
	g.str("kernel: [")
	for limit := uint64(10000); limit > 1 && up < limit; limit /= 10 {
		g.byte(' ') // the kernel pads to five places
	}
	g.num(int(up))
	g.byte('.')
	g.digits(g.at.nano/1000, 6)
	g.str("] ")
	switch g.rng.below(7) {
	case 0, 1:
		g.str("[UFW BLOCK] IN=")
		g.str(g.rng.pick(devices))
		g.str(" OUT= SRC=")
		g.ip(&g.rng)
		g.str(" DST=")
		g.ip(&g.rng)
		g.str(" LEN=")
		g.num(40 + g.rng.below(1400))
		if g.room(150) >= 19 { // what follows is at most 150 bytes long
			g.str(" TOS=0x00 PREC=0x00")
		}
		g.str(" TTL=")
		g.num(32 + g.rng.below(32))
		g.str(" ID=")
		g.num(g.rng.below(65536))
		g.str(" DF PROTO=TCP SPT=")
		g.num(1024 + g.rng.below(64000))
		g.str(" DPT=")
		g.num(1 + g.rng.below(9999))
		if g.room(80) >= 22 { // likewise: the tag alone is up to 65
			g.str(" WINDOW=64240 RES=0x00")
		}
		g.str(" SYN URGP=0")
	case 2:
		g.str(g.rng.pick(devices))
		g.str(": port ")
		g.num(1 + g.rng.below(64))
		g.str("(veth")
		g.hex(&g.rng, 8)
		g.str(") entered forwarding state")
	case 3:
		g.str("TCP: request_sock_TCP: Possible SYN flooding on port ")
		g.num(1024 + g.rng.below(64000))
		g.str(". Sending cookies.")
	case 4:
		g.str("EXT4-fs (")
		g.str(g.rng.pick(disks))
		g.str("): mounted filesystem with ordered data mode. Quota mode: none.")
	case 5:
		g.str("audit: type=1400 audit(")
		g.num(int(g.at.unix))
		g.byte('.')
		g.digits(g.at.nano/1e6, 3)
		g.byte(':')
		g.num(g.rng.below(1 << 20))
		g.str(`): apparmor="DENIED" operation="open" comm="`)
		g.str(g.rng.pick(programs))
		g.str(`" requested_mask="r"`)
	default:
		g.str("Memory cgroup out of memory: Killed process ")
		g.num(300 + g.rng.below(65000))
		g.str(" (")
		g.str(g.rng.pick(programs))
		g.str(") total-vm:")
		g.num(1<<18 + g.rng.below(1<<22))
		g.str("kB, anon-rss:")
		g.num(1<<16 + g.rng.below(1<<20))
		g.str("kB")
	}
	g.tagged("id", "ref", kernelWords)
}

// syslog writes syslog with lines of several daemons.
func (g *gen) syslog() {
	g.bsd()
	switch g.rng.below(8) {
	case 0, 1:
		g.str("systemd[1]: ")
		g.str(g.rng.pick(units))
		if g.rng.below(2) == 0 {
			g.str(": Deactivated successfully.")
		} else {
			g.str(": Scheduled restart job, restart counter is at ")
			g.num(1 + g.rng.below(40))
			g.byte('.')
		}
	case 2, 3:
		g.process("kubelet")
		g.byte('I')
		g.digits(int(g.at.month), 2)
		g.digits(g.at.day, 2)
		g.byte(' ')
		g.clock()
		g.byte('.')
		g.digits(g.at.nano/1000, 6)
		g.str(` kubelet.go:2579] "SyncLoop (PLEG): event for pod" pod="`)
		g.str(g.rng.pick(pods))
		g.byte('"')
	case 4, 5:
		g.process("containerd")
		g.str(`time="`)
		g.rfc3339(9)
		g.str(`" level=info msg="StopPodSandbox for \"`)
		g.hex(&g.rng, 16)
		g.str(`\" returns successfully"`)
	case 6:
		g.process("CRON")
		g.str("(root) CMD (test -x /usr/sbin/anacron || run-parts --report /etc/cron.hourly)")
	default:
		g.process("chronyd")
		g.str("Selected source ")
		g.ip(&g.rng)
		g.str(" offset ")
		g.fixed(g.rng.tail(500), 6)
		g.str(" seconds")
	}
	g.tagged("job", "mark", syslogWords)
}
