package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type nodeServer struct {
	csi.UnimplementedNodeServer
	name  string
	store *store
	busy  *busy
}

func (n *nodeServer) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: n.name}, nil
}

func (n *nodeServer) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return &csi.NodeGetCapabilitiesResponse{Capabilities: []*csi.NodeServiceCapability{{
		Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{
			Type: csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		}},
	}}}, nil
}

func (n *nodeServer) NodeStageVolume(_ context.Context, req *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	id, target := req.GetVolumeId(), req.GetStagingTargetPath()
	if !n.busy.begin(id) {
		return nil, status.Errorf(codes.Aborted, "volume %s is being worked on", id)
	}
	defer n.busy.end(id)
	v := volume{}
	found, err := n.store.load(volumes, id, &v)
	if err != nil {
		return nil, internal(err)
	}
	if !found {
		return nil, status.Errorf(codes.NotFound, "no volume %s", id)
	}
	if mounted, err := isMounted(target); mounted || err != nil {
		return &csi.NodeStageVolumeResponse{}, internal(err)
	}
	if err := n.format(&v, req.GetVolumeCapability().GetMount().GetFsType()); err != nil {
		return nil, internal(err)
	}
	if err := n.mount(&v, target, req.GetVolumeCapability().GetMount().GetMountFlags()); err != nil {
		return nil, internal(err)
	}
	return &csi.NodeStageVolumeResponse{}, nil
}

// format makes the file system at the first use, as drivers of block devices do.
func (n *nodeServer) format(v *volume, fsType string) error {
	if v.FSType != "" {
		return nil
	}
	image := n.store.image(volumes, v.ID)
	if fsType == "" {
		fsType = "ext4"
	}
	// 4096, which mkfs gives only to larger volumes: those in real use.
	args := []string{"mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", image}
	if fsType == "xfs" {
		args = []string{"mkfs.xfs", "-q", "-f", "-K", image}
	}
	if err := run(args...); err != nil {
		return err
	}
	v.FSType = fsType
	return n.store.save(volumes, v.ID, v)
}

func (n *nodeServer) mount(v *volume, target string, flags []string) error {
	image := n.store.image(volumes, v.ID)
	options := append([]string{"loop"}, flags...)
	if v.FSType == "xfs" {
		options = append(options, "nouuid") // a restored copy carries the id of its source
	} else if err := checkExt4(image, v.Grow); err != nil {
		return err
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := run("mount", "-t", v.FSType, "-o", strings.Join(options, ","), image, target); err != nil {
		return err
	}
	if !v.Grow {
		return nil
	}
	if v.FSType == "xfs" {
		if err := run("xfs_growfs", target); err != nil {
			return errors.Join(err, unmount(target))
		}
	}
	v.Grow = false
	return n.store.save(volumes, v.ID, v)
}

// checkExt4 replays the journal, and fills the image when it is larger than its
// file system. To grow a mounted one takes a capability that a sandbox may lack.
func checkExt4(image string, grow bool) error {
	check := []string{"e2fsck", "-p", image}
	if grow {
		check = []string{"e2fsck", "-f", "-p", image}
	}
	if err := run(check...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() > 1 { // 1: errors corrected
			return err
		}
	}
	if grow {
		return run("resize2fs", image)
	}
	return nil
}

func (n *nodeServer) NodeUnstageVolume(_ context.Context, req *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	id := req.GetVolumeId()
	if !n.busy.begin(id) {
		return nil, status.Errorf(codes.Aborted, "volume %s is being worked on", id)
	}
	defer n.busy.end(id)
	return &csi.NodeUnstageVolumeResponse{}, internal(unmount(req.GetStagingTargetPath()))
}

func (n *nodeServer) NodePublishVolume(_ context.Context, req *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	target := req.GetTargetPath()
	if mounted, err := isMounted(target); mounted || err != nil {
		return &csi.NodePublishVolumeResponse{}, internal(err)
	}
	if mounted, err := isMounted(req.GetStagingTargetPath()); !mounted {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s is not staged: %v", req.GetVolumeId(), err)
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return nil, internal(err)
	}
	options := "bind"
	if req.GetReadonly() {
		options = "bind,ro"
	}
	return &csi.NodePublishVolumeResponse{}, internal(run("mount", "-o", options, req.GetStagingTargetPath(), target))
}

func (n *nodeServer) NodeUnpublishVolume(_ context.Context, req *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := unmount(req.GetTargetPath()); err != nil {
		return nil, internal(err)
	}
	if err := os.Remove(req.GetTargetPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, internal(err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

func isMounted(path string) (bool, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return bytes.Contains(table, []byte(" "+path+" ")), nil
}

func unmount(path string) error {
	if mounted, err := isMounted(path); !mounted || err != nil {
		return err
	}
	return run("umount", path)
}

func run(args ...string) error {
	output, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(output))
	}
	return nil
}
