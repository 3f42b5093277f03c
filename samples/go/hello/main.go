// The Go twin of rust/hello-docker. Its output is large, so it is not checked in; tests build it:
//
//	GOOS=wasip1 GOARCH=wasm go build -o hello.wasm .
//	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build -ldflags=-s -o hello-linux-arm64 .
package main

import (
	"fmt"
	"os"
	"strconv"
)

func main() {
	greeting, set := os.LookupEnv("GREETING")
	if !set {
		greeting = "Hello, Docker!"
	}
	fmt.Println(greeting)
	if len(os.Args) == 3 && os.Args[1] == "--exit" {
		status, err := strconv.Atoi(os.Args[2])
		if err != nil {
			status = 64
		}
		os.Exit(status)
	}
	for _, argument := range os.Args[1:] {
		fmt.Println("argument:", argument)
	}
}
