// Command scalar-standin stands in for the servers of ScalarDB and ScalarDL, whose images cannot be had here. It is
// none of them: of their protocols it speaks the one of administration (rpc.Admin, with grpc.health.v1), as they do.
// What is paused is real: a gate in front of rows that are committed to a real PostgreSQL, which is found in the
// properties that Scalar's charts mount. How rows are asked for (plain HTTP) is the stand-in's own.
//
//	scalar-standin             serves
//	scalar-standin switch ...  flips switches of the server of this pod: see switches.go
//	grpc_health_probe ...      by this name, the probe of the charts: see health.go
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// product is what the servers differ in. Auditor and ScalarDB Cluster cannot be read: they are taken to be like Ledger
// and ScalarDB Server.
type product struct {
	// The port of its requests, of which the stand-in answers those for its health only, and the admin port.
	port, adminPort string
	// ScalarDL holds requests at a closed gate, where ScalarDB refuses them, and its pauses know of each other.
	scalarDL bool
	// The properties that say whether it has a certificate, and which.
	encrypted, certificate string
}

var products = map[string]product{
	"scalardb":         {"60051", "60051", false, "", ""},
	"scalardb-cluster": {"60053", "60053", false, "scalar.db.cluster.tls.enabled", "scalar.db.cluster.node.tls"},
	"ledger":           {"50051", "50053", true, "scalar.dl.ledger.server.tls.enabled", "scalar.dl.ledger.server.tls"},
	"auditor":          {"40051", "40053", true, "scalar.dl.auditor.server.tls.enabled", "scalar.dl.auditor.server.tls"},
}

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	log.SetOutput(os.Stdout)
	if filepath.Base(os.Args[0]) == "grpc_health_probe" {
		end(probe())
	}
	product, known := products[os.Getenv("PRODUCT")]
	if !known {
		log.Fatalf("PRODUCT is %q: not scalardb, scalardb-cluster, ledger or auditor", os.Getenv("PRODUCT"))
	}
	properties, err := readProperties(os.Getenv("PROPERTIES"))
	if err != nil {
		log.Fatal(err)
	}
	switch {
	case len(os.Args) == 1:
		end(serve(product, properties))
	case os.Args[1] == "switch" && len(os.Args) > 2:
		end(flip(os.Args[2:]))
	default:
		end(fmt.Errorf("usage: %s [switch NAME=VALUE...]", os.Args[0]))
	}
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(product product, properties map[string]string) error {
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
	encrypted := properties[product.encrypted] == "true"
	if encrypted {
		keys, err := credentials.NewServerTLSFromFile(
			properties[product.certificate+".cert_chain_path"], properties[product.certificate+".private_key_path"])
		if err != nil {
			return err
		}
		options = append(options, grpc.Creds(keys))
	}
	administration := grpc.NewServer(options...)
	(&admin{gate, switches}).register(administration)
	servers := map[string]*grpc.Server{env("ADMIN_PORT", product.adminPort): administration}
	if product.port != product.adminPort {
		servers[product.port] = grpc.NewServer(options...)
	}
	ended := make(chan error, 4)
	for port, server := range servers {
		// Serving also while paused: a pause does not change the health.
		grpc_health_v1.RegisterHealthServer(server, health.NewServer())
		listener, err := net.Listen("tcp", ":"+port)
		if err != nil {
			return err
		}
		go func() { ended <- server.Serve(listener) }()
		log.Printf("stand-in for %s at port %s, TLS: %t", os.Getenv("PRODUCT"), port, encrypted)
	}
	go func() { ended <- http.ListenAndServe(":"+env("DATA_PORT", "8000"), &data{gate, switches, rows}) }()
	go func() { ended <- http.ListenAndServe(switchAddress, switches) }()

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
