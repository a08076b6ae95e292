// Command peer is what the tests' containers run: a server that says who it is and who asks, and the client's side of it.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

func main() {
	var err error
	switch os.Args[1] {
	case "serve":
		err = serve(os.Args[2])
	case "lookup":
		var addrs []string
		addrs, err = net.LookupHost(os.Args[2])
		fmt.Println(strings.Join(addrs, " "))
	case "ask": // NETWORK ADDRESS: the answer, right away
		err = ask(os.Args[2], os.Args[3])
	case "hold": // ADDRESS: one connection, asked for each line of the input
		err = hold(os.Args[2])
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func serve(name string) error {
	packets, err := net.ListenPacket("udp", ":8080")
	if err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 1500)
		for {
			_, from, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(writerTo{packets, from}, "%s %s\n", name, from)
		}
	}()
	l, err := net.Listen("tcp", ":8080")
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			for in := bufio.NewScanner(c); in.Scan(); {
				fmt.Fprintf(c, "%s %s\n", name, c.RemoteAddr())
			}
		}()
	}
}

type writerTo struct {
	net.PacketConn
	to net.Addr
}

func (w writerTo) Write(b []byte) (int, error) { return w.WriteTo(b, w.to) }

func ask(network, address string) error {
	d := net.Dialer{Timeout: 5 * time.Second}
	if port, ok := strings.CutPrefix(network, "udp:"); ok { // from a port of one's choice
		local, err := net.ResolveUDPAddr("udp4", ":"+port)
		if err != nil {
			return err
		}
		network, d.LocalAddr = "udp4", local
	}
	c, err := d.Dial(network, address)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintln(c, "who")
	line, err := bufio.NewReader(c).ReadString('\n')
	fmt.Print(line)
	return err
}

func hold(address string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	answers := bufio.NewReader(c)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Fprintln(c, in.Text())
		line, err := answers.ReadString('\n')
		if err != nil {
			return err
		}
		_, _ = io.WriteString(os.Stdout, line)
	}
	return nil
}
