package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const defaultBytes = 1 << 30

type controller struct {
	csi.UnimplementedControllerServer
	store *store
	busy  *busy
}

func (c *controller) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	answer := &csi.ControllerGetCapabilitiesResponse{}
	for _, capability := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
		csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
	} {
		answer.Capabilities = append(answer.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: capability}},
		})
	}
	return answer, nil
}

func (c *controller) ValidateVolumeCapabilities(_ context.Context, req *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	found, err := c.store.load(volumes, req.GetVolumeId(), &volume{})
	if err != nil {
		return nil, internal(err)
	}
	if !found {
		return nil, status.Errorf(codes.NotFound, "no volume %s", req.GetVolumeId())
	}
	if err := checkCapabilities(req.GetVolumeCapabilities()); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: err.Error()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeCapabilities: req.GetVolumeCapabilities(),
	}}, nil
}

func checkCapabilities(capabilities []*csi.VolumeCapability) error {
	for _, capability := range capabilities {
		if capability.GetBlock() != nil {
			return status.Error(codes.InvalidArgument, "raw block volumes are not offered")
		}
		switch capability.GetMount().GetFsType() {
		case "", "ext4", "xfs":
		default:
			return status.Errorf(codes.InvalidArgument, "file system %s is not offered", capability.GetMount().GetFsType())
		}
	}
	return nil
}

func (c *controller) CreateVolume(_ context.Context, req *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	id := req.GetName()
	if !c.busy.begin(id) {
		return nil, status.Errorf(codes.Aborted, "volume %s is being worked on", id)
	}
	defer c.busy.end(id)
	if err := checkCapabilities(req.GetVolumeCapabilities()); err != nil {
		return nil, err
	}
	wanted := max(req.GetCapacityRange().GetRequiredBytes(), 0)
	if wanted == 0 {
		wanted = defaultBytes
	}

	v := volume{}
	found, err := c.store.load(volumes, id, &v)
	if err != nil {
		return nil, internal(err)
	}
	if found && v.Bytes < wanted {
		return nil, status.Errorf(codes.AlreadyExists, "volume %s has %d bytes", id, v.Bytes)
	}
	if !found {
		v = volume{ID: id, Bytes: wanted, Made: time.Now()}
		if err := c.fill(&v, req.GetVolumeContentSource()); err != nil {
			return nil, err
		}
		if err := c.store.save(volumes, id, v); err != nil {
			return nil, internal(err)
		}
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId:      id,
		CapacityBytes: v.Bytes,
		ContentSource: req.GetVolumeContentSource(),
	}}, nil
}

// fill makes the image of a new volume: empty, or from a snapshot or a volume.
func (c *controller) fill(v *volume, from *csi.VolumeContentSource) error {
	image := c.store.image(volumes, v.ID)
	if from == nil {
		return internal(createImage(image, v.Bytes))
	}
	var origin string
	var originBytes int64
	if id := from.GetSnapshot().GetSnapshotId(); id != "" {
		s := snapshot{}
		found, err := c.store.load(snapshots, id, &s)
		if err != nil {
			return internal(err)
		}
		if !found {
			return status.Errorf(codes.NotFound, "no snapshot %s", id)
		}
		if !s.ready() {
			return status.Errorf(codes.Unavailable, "snapshot %s is not ready to use", id)
		}
		origin, originBytes = c.store.image(snapshots, id), s.Bytes
		v.Source, v.FSType = id, s.FSType
	} else {
		id := from.GetVolume().GetVolumeId()
		source := volume{}
		found, err := c.store.load(volumes, id, &source)
		if err != nil {
			return internal(err)
		}
		if !found {
			return status.Errorf(codes.NotFound, "no volume %s", id)
		}
		origin, originBytes = c.store.image(volumes, id), source.Bytes
		v.Source, v.FSType = id, source.FSType
	}
	if v.Bytes < originBytes {
		return status.Errorf(codes.OutOfRange, "%d bytes do not hold the %d of the source", v.Bytes, originBytes)
	}
	v.Grow = v.FSType != "" && v.Bytes > originBytes
	if _, _, err := reflink(origin, image); err != nil {
		return internal(err)
	}
	return internal(os.Truncate(image, v.Bytes))
}

func (c *controller) DeleteVolume(_ context.Context, req *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	id := req.GetVolumeId()
	if !c.busy.begin(id) {
		return nil, status.Errorf(codes.Aborted, "volume %s is being worked on", id)
	}
	defer c.busy.end(id)
	return &csi.DeleteVolumeResponse{}, internal(c.store.remove(volumes, id))
}

// internal keeps errors that are gRPC errors already, and nil.
func internal(err error) error {
	if err == nil {
		return nil
	}
	var typed interface{ GRPCStatus() *status.Status }
	if errors.As(err, &typed) {
		return err
	}
	return status.Error(codes.Internal, err.Error())
}
