package main

import (
	"context"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func (c *controller) CreateSnapshot(ctx context.Context, req *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	id, source := req.GetName(), req.GetSourceVolumeId()
	f, err := parseFaults(req.GetParameters())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if !c.busy.begin(id) {
		return nil, status.Errorf(codes.Aborted, "snapshot %s is being worked on", id)
	}
	defer c.busy.end(id)

	s := snapshot{}
	found, err := c.store.load(snapshots, id, &s)
	if err != nil {
		return nil, internal(err)
	}
	if found && s.Volume != source {
		return nil, status.Errorf(codes.AlreadyExists, "snapshot %s is one of volume %s", id, s.Volume)
	}
	if found {
		return &csi.CreateSnapshotResponse{Snapshot: s.message()}, nil
	}

	if f.neverAnswer {
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if err := c.failBefore(id, f); err != nil {
		return nil, err
	}
	// A storage system goes on when its client has given up: so does this.
	time.Sleep(f.cutDelay)
	if err := c.cut(id, source, f); err != nil {
		return nil, err
	}
	if f.errorAfterCut {
		return nil, status.Error(codes.Internal, "fault on demand: error after the cut")
	}
	if _, err := c.store.load(snapshots, id, &s); err != nil {
		return nil, internal(err)
	}
	return &csi.CreateSnapshotResponse{Snapshot: s.message()}, nil
}

func (c *controller) failBefore(id string, f faults) error {
	if f.alwaysError {
		return status.Error(codes.Internal, "fault on demand: always an error")
	}
	if f.errors == 0 {
		return nil
	}
	// On disk, so that a restart of the driver does not start the count anew.
	var past attempts
	if _, err := c.store.load(failures, id, &past); err != nil {
		return internal(err)
	}
	if past.Errors >= f.errors {
		return nil
	}
	past.Errors++
	if err := c.store.save(failures, id, past); err != nil {
		return internal(err)
	}
	return status.Errorf(codes.Internal, "fault on demand: error %d of %d", past.Errors, f.errors)
}

func (c *controller) cut(id, source string, f faults) error {
	v := volume{}
	found, err := c.store.load(volumes, source, &v)
	if err != nil {
		return internal(err)
	}
	if !found {
		return status.Errorf(codes.NotFound, "no volume %s", source)
	}
	begin, end, err := reflink(c.store.image(volumes, source), c.store.image(snapshots, id))
	if err != nil {
		return internal(err)
	}
	return internal(c.store.save(snapshots, id, snapshot{
		ID: id, Volume: source, Bytes: v.Bytes, FSType: v.FSType,
		CutBegin: begin, CutEnd: end, ReadyAt: end.Add(f.uploadDelay), NeverReady: f.neverReady,
	}))
}

// message gives the begin of the cut as its time: what was on the device by
// then is in the copy for certain.
func (s *snapshot) message() *csi.Snapshot {
	return &csi.Snapshot{
		SnapshotId: s.ID, SourceVolumeId: s.Volume, SizeBytes: s.Bytes,
		CreationTime: timestamppb.New(s.CutBegin), ReadyToUse: s.ready(),
	}
}

func (c *controller) DeleteSnapshot(_ context.Context, req *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	id := req.GetSnapshotId()
	if !c.busy.begin(id) {
		return nil, status.Errorf(codes.Aborted, "snapshot %s is being worked on", id)
	}
	defer c.busy.end(id)
	if err := c.store.remove(snapshots, id); err != nil {
		return nil, internal(err)
	}
	return &csi.DeleteSnapshotResponse{}, internal(c.store.remove(failures, id))
}

// ListSnapshots is how the snapshotter looks at pre-provisioned contents.
func (c *controller) ListSnapshots(_ context.Context, req *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	ids := []string{req.GetSnapshotId()}
	if ids[0] == "" {
		all, err := c.store.list(snapshots)
		if err != nil {
			return nil, internal(err)
		}
		ids = all
	}
	answer := &csi.ListSnapshotsResponse{}
	for _, id := range ids {
		s := snapshot{}
		found, err := c.store.load(snapshots, id, &s)
		if err != nil {
			return nil, internal(err)
		}
		if found && (req.GetSourceVolumeId() == "" || req.GetSourceVolumeId() == s.Volume) {
			answer.Entries = append(answer.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: s.message()})
		}
	}
	return answer, nil
}
