// Command scalar-standin stands in for the servers of ScalarDB and ScalarDL, whose images cannot be had here. It is
// none of them: of their protocols it speaks the one of administration (rpc.Admin, with grpc.health.v1), as they do.
// What is paused is real: a gate in front of rows that are committed to a real PostgreSQL, which is found in the
// properties that Scalar's charts mount. How rows are asked for (plain HTTP) is the stand-in's own.
//
//	scalar-standin             serves
//	scalar-standin health      asks the server of this pod, as grpc_health_probe does for the charts
//	scalar-standin switch ...  flips switches of the server of this pod: see switches.go
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// product is what the servers differ in. Auditor and ScalarDB Cluster cannot be read: they are taken to be like Ledger
// and ScalarDB Server.
type product struct {
	adminPort string
	// ScalarDL holds requests at a closed gate, where ScalarDB refuses them, and its pauses know of each other.
	scalarDL bool
	// The properties that say whether it has a certificate, and which.
	encrypted, certificate string
}

var products = map[string]product{
	"scalardb":         {"60051", false, "", ""},
	"scalardb-cluster": {"60053", false, "scalar.db.cluster.tls.enabled", "scalar.db.cluster.node.tls"},
	"ledger":           {"50053", true, "scalar.dl.ledger.server.tls.enabled", "scalar.dl.ledger.server.tls"},
	"auditor":          {"40053", true, "scalar.dl.auditor.server.tls.enabled", "scalar.dl.auditor.server.tls"},
}

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	log.SetOutput(os.Stdout)
	product, known := products[os.Getenv("PRODUCT")]
	if !known {
		log.Fatalf("PRODUCT is %q: not scalardb, scalardb-cluster, ledger or auditor", os.Getenv("PRODUCT"))
	}
	properties, err := readProperties(os.Getenv("PROPERTIES"))
	if err != nil {
		log.Fatal(err)
	}
	address := ":" + env("ADMIN_PORT", product.adminPort)
	encrypted := properties[product.encrypted] == "true"
	switch {
	case len(os.Args) == 1:
		err = serve(product, properties, address, encrypted)
	case os.Args[1] == "health" && len(os.Args) == 2:
		// Not by name: there is no DNS server to ask.
		err = askHealth("127.0.0.1"+address, encrypted)
	case os.Args[1] == "switch" && len(os.Args) > 2:
		err = flip(os.Args[2:])
	default:
		err = fmt.Errorf("usage: %s [health | switch NAME=VALUE...]", os.Args[0])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(product product, properties map[string]string, address string, encrypted bool) error {
	gate := newGate(product.scalarDL)
	switches := &switches{gate: gate, faults: map[string]fault{}}
	if err := switches.apply(os.Getenv("SWITCHES")); err != nil {
		return fmt.Errorf("SWITCHES: %w", err)
	}
	rows, err := openRows(properties)
	if err != nil {
		return err
	}

	var options []grpc.ServerOption
	if encrypted {
		keys, err := credentials.NewServerTLSFromFile(
			properties[product.certificate+".cert_chain_path"], properties[product.certificate+".private_key_path"])
		if err != nil {
			return err
		}
		options = append(options, grpc.Creds(keys))
	}
	server := grpc.NewServer(options...)
	(&admin{gate, switches}).register(server)
	// Serving also while paused: a pause must not make a pod unready.
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}

	ended := make(chan error, 3)
	go func() { ended <- server.Serve(listener) }()
	go func() { ended <- http.ListenAndServe(":"+env("DATA_PORT", "8000"), &data{gate, switches, rows}) }()
	go func() { ended <- http.ListenAndServe(switchAddress, switches) }()
	log.Printf("stand-in for %s: rpc.Admin at %s, TLS: %t", os.Getenv("PRODUCT"), address, encrypted)

	// The first process of a container gets no signal that it does not ask for.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	select {
	case err := <-ended:
		return err
	case <-signals:
		return nil
	}
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
