// Command driver is a CSI driver for tests. A volume is an image file on a
// reflink file system, mounted through a loop device; a snapshot is a FICLONE
// of the image. As on a network block device, the copy lacks whatever the
// volume's own file system had not written to its device yet.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

func main() {
	name := flag.String("name", "block.test.consistent-backup.io", "name of the driver")
	node := flag.String("node", "node1", "name of the node")
	endpoint := flag.String("endpoint", "", "socket to serve CSI on")
	register := flag.String("registration", "", "socket to serve the kubelet's plugin registration on")
	state := flag.String("state", "", "folder of the metadata of volumes and snapshots")
	images := flag.String("images", "", "folder of the images, on a file system with reflinks")
	flag.Parse()
	log.SetFlags(log.Ltime | log.Lmicroseconds)

	store, err := openStore(*state, *images)
	if err != nil {
		log.Fatal(err)
	}

	plugin := grpc.NewServer(grpc.UnaryInterceptor(logCall))
	csi.RegisterIdentityServer(plugin, &identity{name: *name})
	csi.RegisterControllerServer(plugin, &controller{store: store, busy: newBusy()})
	csi.RegisterNodeServer(plugin, &nodeServer{name: *node, store: store, busy: newBusy()})
	registrar := grpc.NewServer()
	registration.RegisterRegistrationServer(registrar, &registrationServer{name: *name, endpoint: *endpoint})

	failed := make(chan error, 2)
	// The kubelet calls the endpoint as soon as it sees the registration socket.
	go func() { failed <- serve(plugin, *endpoint) }()
	go func() { failed <- serve(registrar, *register) }()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	select {
	case err := <-failed:
		log.Fatal(err)
	case <-ctx.Done():
		registrar.Stop()
		plugin.Stop()
	}
}

func serve(server *grpc.Server, socket string) error {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	return server.Serve(listener)
}

func logCall(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	begin := time.Now()
	answer, err := handler(ctx, req)
	subject := ""
	switch r := req.(type) {
	case interface{ GetName() string }:
		subject = r.GetName()
	case interface{ GetSnapshotId() string }:
		subject = r.GetSnapshotId()
	case interface{ GetVolumeId() string }:
		subject = r.GetVolumeId()
	default:
		if err == nil {
			return answer, nil // Probe and the like, every few seconds
		}
	}
	log.Printf("%s %s %.1fms error=%v", info.FullMethod, subject, float64(time.Since(begin).Microseconds())/1000, err)
	return answer, err
}
