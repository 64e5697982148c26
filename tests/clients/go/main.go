// A login as programs in Go do it (golang.org/x/crypto/ssh): see tests/clients/test_libraries.py.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/crypto/ssh"
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func read(variable string) []byte { return must(os.ReadFile(os.Getenv(variable))) }

func answer(_, _ string, questions []string, _ []bool) ([]string, error) {
	answers := make([]string, len(questions))
	for at := range questions {
		answers[at] = os.Getenv("CODE")
		if answers[at] == "" {
			return nil, errors.New("asked for a code")
		}
	}
	return answers, nil
}

func main() {
	signer := must(ssh.ParsePrivateKey(read("KEY")))
	if os.Getenv("CERTIFICATE") != "" {
		public, _, _, _, err := ssh.ParseAuthorizedKey(read("CERTIFICATE"))
		certificate, _ := must(public, err).(*ssh.Certificate)
		signer = must(ssh.NewCertSigner(certificate, signer))
	}
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(os.Getenv("HOST_KEY")))
	config := &ssh.ClientConfig{
		User:            os.Getenv("LOGIN"),
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(signer), ssh.KeyboardInteractive(answer)},
		HostKeyCallback: ssh.FixedHostKey(must(hostKey, err)),
	}
	address := net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT"))
	connection := must(ssh.Dial("tcp", address, config))
	session := must(connection.NewSession())
	os.Stdout.Write(must(session.Output("id -un")))
}
