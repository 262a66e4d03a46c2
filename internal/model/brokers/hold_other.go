//go:build !linux

package brokers

// holdPort holds nothing outside Linux: a port is free while its broker is down, and a restart fails with an event when
// somebody else has taken it.
func holdPort(addr string) (string, func(), error) { return addr, func() {}, nil }
