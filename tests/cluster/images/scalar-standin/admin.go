package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// The messages of scalar-admin 2.2.1 (scalar-labs/scalar-admin, admin.proto), as a descriptor: what protoc would make
// of them is not needed.
const messages = `
	name: "admin.proto" package: "rpc" syntax: "proto3"
	message_type {
		name: "PauseRequest"
		field { name: "wait_outstanding" number: 1 type: TYPE_BOOL label: LABEL_OPTIONAL }
		field { name: "max_pause_wait_time" number: 2 type: TYPE_INT64 label: LABEL_OPTIONAL proto3_optional: true oneof_index: 0 }
		oneof_decl { name: "_max_pause_wait_time" }
	}
	message_type {
		name: "CheckPausedResponse"
		field { name: "paused" number: 1 type: TYPE_BOOL label: LABEL_OPTIONAL }
	}`

const defaultPauseWait = 30 * time.Second

// admin is the service rpc.Admin. A call goes on when its caller is gone, as those of the real servers do.
type admin struct {
	gate     *gate
	switches *switches
}

func (a *admin) register(server *grpc.Server) {
	file := &descriptorpb.FileDescriptorProto{}
	if err := prototext.Unmarshal([]byte(messages), file); err != nil {
		log.Fatal(err)
	}
	described, err := protodesc.NewFile(file, nil)
	if err != nil {
		log.Fatal(err)
	}
	request, response := described.Messages().ByName("PauseRequest"), described.Messages().ByName("CheckPausedResponse")
	empty := (&emptypb.Empty{}).ProtoReflect().Descriptor()
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "rpc.Admin", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
		a.method("Pause", "pause", request, func(asked *dynamicpb.Message) (proto.Message, error) {
			return &emptypb.Empty{}, a.pause(asked)
		}),
		a.method("Unpause", "unpause", empty, func(*dynamicpb.Message) (proto.Message, error) {
			a.gate.unpause()
			log.Print("unpaused")
			return &emptypb.Empty{}, nil
		}),
		a.method("CheckPaused", "check", empty, func(*dynamicpb.Message) (proto.Message, error) {
			answer := dynamicpb.NewMessage(response)
			answer.Set(response.Fields().ByNumber(1), protoreflect.ValueOfBool(a.gate.isPaused()))
			return answer, nil
		}),
	}}, a)
}

// method answers a call by do, unless its switch says otherwise.
func (a *admin) method(name, switched string, request protoreflect.MessageDescriptor,
	do func(*dynamicpb.Message) (proto.Message, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, decode func(any) error,
		_ grpc.UnaryServerInterceptor) (any, error) {
		asked := dynamicpb.NewMessage(request)
		if err := decode(asked); err != nil {
			return nil, err
		}
		fault := a.switches.take(switched)
		log.Printf("%s {%v} %s", name, asked, fault)
		switch fault {
		case "hang":
			<-ctx.Done()
			return nil, ctx.Err()
		case "error":
			return nil, status.Error(codes.Internal, "switched to fail")
		case "unimplemented":
			return nil, status.Error(codes.Unimplemented, "Method not found: rpc.Admin/"+name)
		}
		answer, err := do(asked)
		if fault == "lost" {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return answer, err
	}}
}

func (a *admin) pause(asked *dynamicpb.Message) error {
	fields := asked.Descriptor().Fields()
	wait, limit := fields.ByNumber(1), fields.ByNumber(2)
	var result string
	patience := defaultPauseWait
	if asked.Get(wait).Bool() {
		given := asked.Get(limit).Int()
		switch {
		case given > 0 || given < 0 && !a.gate.scalarDL:
			patience = time.Duration(given) * time.Millisecond
		case a.gate.scalarDL && asked.Has(limit):
			return status.Errorf(codes.InvalidArgument, "max_pause_wait_time must be greater than 0 ms, but was %d ms", given)
		}
		result = a.gate.pause(patience)
	} else {
		result = a.gate.pauseNow()
	}
	if result == paused {
		log.Print("paused")
		return nil
	}
	log.Printf("pause: %s", result)
	return a.failure(result, patience)
}

func (a *admin) failure(result string, patience time.Duration) error {
	if !a.gate.scalarDL {
		return status.Error(codes.FailedPrecondition, "failed to finish processing outstanding requests within the time limit.")
	}
	code := codes.FailedPrecondition
	if result == gateOpen || result == pauseInProgress {
		code = codes.Aborted
	}
	failed := status.New(code, fmt.Sprintf("Pause did not complete within %d ms: %s", patience.Milliseconds(), result))
	detailed, err := failed.WithDetails(&errdetails.ErrorInfo{Reason: result, Domain: "com.scalar.dl.admin"})
	if err != nil {
		log.Fatal(err)
	}
	return detailed.Err()
}
