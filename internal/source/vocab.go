package source

// Words of the lines. None may need escaping in JSON where it stands in JSON, and none may start with a token's mark.
var (
	services = []string{"checkout", "cart", "catalog", "payments", "inventory", "search", "profile", "shipping"}
	versions = []string{"v2.14.3", "v2.14.4", "v2.15.0"}
	regions  = []string{"eu-central-1a", "eu-central-1b", "eu-central-1c"}
	routes   = []string{
		"/v1/orders", "/v1/orders/{id}", "/v1/cart", "/v1/cart/items", "/v1/products", "/v1/products/{id}",
		"/v1/payments", "/v1/users/{id}", "/v1/search", "/healthz",
	}
	methods  = []string{"GET", "GET", "GET", "GET", "POST", "POST", "PUT", "DELETE"}
	okStatus = []string{"200", "200", "200", "200", "200", "201", "204"}
	messages = []string{
		"request served", "cache hit", "cache miss", "order accepted", "session refreshed",
		"message published", "page rendered",
	}
	warnStatus = []string{"400", "401", "404", "409", "429"}
	warnings   = []string{
		"slow upstream call", "retrying after timeout", "rate limit reached", "stale cache entry served",
		"client sent invalid body",
	}
	errorStatus = []string{"500", "502", "503", "504"}
	failures    = []string{
		"context deadline exceeded", "connection reset by peer", "upstream returned 503", "deadlock, rolled back",
		"no healthy endpoint",
	}
	agents = []string{
		"Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "okhttp/5.1.0", "curl/8.14.1", "Go-http-client/2.0",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5) Safari/605.1",
	}
	serviceWords = newText(
		"attempt", "upstream", "shard", "tenant", "item", "queue", "worker", "pool", "latency", "budget", "retry",
		"token", "batch", "commit", "replica", "index", "lookup", "payload", "quota", "cursor", "lease", "window",
		"with", "for", "after", "from", "and",
	)

	users    = []string{"deploy", "ubuntu", "ansible", "backup", "mkoch", "aschmidt", "jlin", "operator"}
	badUsers = []string{"admin", "oracle", "test", "guest", "postgres", "ftpuser", "pi", "user1"}
	units    = []string{
		"kubelet.service", "containerd.service", "chrony.service", "rsyslog.service", "logrotate.service",
		"apt-daily.service", "fstrim.service", "systemd-tmpfiles-clean.service",
	}
	authWords = newText(
		"policy", "audit", "tty", "login", "key", "agent", "host", "group", "wheel", "shell", "uid", "gid", "limit",
		"cgroup", "seat", "class", "remote", "local", "ok",
	)

	devices     = []string{"eth0", "eth1", "ens5", "cni0", "cilium_host", "flannel.1"}
	disks       = []string{"nvme0n1", "nvme1n1", "sda", "dm-0"}
	programs    = []string{"java", "node", "python3", "nginx", "fluentd", "postgres"}
	kernelWords = newText(
		"cpu", "irq", "node", "zone", "page", "order", "cache", "flags", "state", "link", "queue", "mode", "sector",
		"timer", "rcu", "tsc", "acpi", "pci", "memcg", "slab", "up", "down",
	)

	pods = []string{
		"datacenter/service-inputgen-7c9f", "kube-system/coredns-6d4b", "kube-system/kube-proxy-x2k",
		"datacenter/fluent-bit-9hw", "datacenter/fluentd-0", "kube-system/aws-node-tq8",
	}
	syslogWords = newText(
		"unit", "job", "slice", "scope", "mount", "volume", "image", "layer", "sandbox", "probe", "lease", "source",
		"offset", "stratum", "timer", "target", "device", "socket", "cache", "sync", "done", "ok",
	)

	metricNames = []string{
		"node_cpu_seconds_total", "node_memory_MemAvailable_bytes", "node_filesystem_avail_bytes",
		"node_network_receive_bytes_total", "node_network_transmit_bytes_total", "node_disk_io_time_seconds_total",
		"node_load1", "node_context_switches_total", "node_sockstat_TCP_inuse", "node_vmstat_pgmajfault",
	}
	collectors = []string{
		"cpu", "diskstats", "filesystem", "loadavg", "meminfo", "netdev", "netstat", "sockstat", "stat", "vmstat",
		"pressure", "conntrack", "schedstat", "timex",
	}
	collectorWords = newText(collectors...)
)

const base64Letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
