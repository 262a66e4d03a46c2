package brokers

import (
	"fmt"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// holdPort binds a socket to addr (127.0.0.1 and a port, 0 for a free one) without listening on it, and returns the
// address. Linux lets a listener with SO_REUSEADDR, which Go sets, bind the same address as long as the holder does not
// listen; when the listener goes, connects are refused and the number is not given to anybody else.
func holdPort(addr string) (string, func(), error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return "", nil, err
	}
	num, err := strconv.Atoi(portText)
	if err != nil {
		return "", nil, fmt.Errorf("port %q: %w", portText, err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("socket: %w", err)
	}
	free := func() { _ = unix.Close(fd) }
	sa := &unix.SockaddrInet4{Port: num}
	copy(sa.Addr[:], net.ParseIP(host).To4())
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		free()
		return "", nil, fmt.Errorf("socket option: %w", err)
	}
	if err := unix.Bind(fd, sa); err != nil {
		free()
		return "", nil, fmt.Errorf("bind %s: %w", addr, err)
	}
	got, err := unix.Getsockname(fd)
	if err != nil {
		free()
		return "", nil, fmt.Errorf("socket name: %w", err)
	}
	return net.JoinHostPort(host, strconv.Itoa(got.(*unix.SockaddrInet4).Port)), free, nil
}
