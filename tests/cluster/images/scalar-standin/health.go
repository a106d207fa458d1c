package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// probe fails unless a server is serving. Its flags are those of grpc_health_probe that the charts use.
func probe() error {
	address := flag.String("addr", "", "HOST:PORT")
	encrypted := flag.Bool("tls", false, "")
	authority := flag.String("tls-ca-cert", "", "file")
	name := flag.String("tls-server-name", "", "in its certificate")
	flag.Parse()

	transport := insecure.NewCredentials()
	if *encrypted {
		trusted, err := credentials.NewClientTLSFromFile(*authority, *name)
		if err != nil {
			return err
		}
		transport = trusted
	}
	// Not by gRPC's own look-ups, which wait for a DNS server that is not there.
	connection, err := grpc.NewClient("passthrough:///"+*address, grpc.WithTransportCredentials(transport))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	answer, err := grpc_health_v1.NewHealthClient(connection).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err == nil && answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		err = fmt.Errorf("it is %s", answer.Status)
	}
	return err
}
