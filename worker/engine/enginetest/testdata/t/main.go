// Command t is what test containers run: a process that does what its words say.
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

func main() {
	words := append(os.Args[1:], "", "")
	switch words[0] {
	case "sleep": // until the stop signal
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		<-stop
	case "ignore": // the stop signal too
		for stop := make(chan os.Signal, 1); ; <-stop {
			signal.Notify(stop, syscall.SIGTERM)
		}
	case "exit":
		code, _ := strconv.Atoi(words[1])
		os.Exit(code)
	case "print":
		fmt.Println(words[1])
	case "cat":
		b, err := os.ReadFile(words[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Stdout.Write(b)
	case "probe":
		if words[1] != "ok" {
			os.Exit(1)
		}
	case "http":
		os.Exit(serve(words[1]))
	default:
		fmt.Fprintln(os.Stderr, "t sleep|ignore|exit N|print TEXT|cat FILE|probe ok|http ADDR")
		os.Exit(2)
	}
}

func serve(addr string) int {
	err := http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") }))
	fmt.Fprintln(os.Stderr, err)
	return 1
}
