package otlp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	metricsv1 "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // exporters may compress

	"github.com/capsign/cap/capsign"
)

// stopTimeout bounds how long a receiver's end waits for exports in flight.
const stopTimeout = 2 * time.Second

// Receiver takes exports over the network. Whoever reaches its addresses may
// send it any, so these should be loopback's.
type Receiver struct {
	grpcAddress, httpAddress string

	grpc    *grpc.Server
	http    *http.Server
	serving sync.WaitGroup
}

// Listen starts a receiver on the addresses, either of which may be empty, and
// hands what arrives to sink. Stop must follow. An error wraps
// [capsign.BadRequest] and says which address cannot be used, and why.
func Listen(ctx context.Context, grpcAddress, httpAddress string, sink Sink) (*Receiver, error) {
	r := new(Receiver)
	if grpcAddress != "" {
		listener, err := listen(ctx, grpcAddress)
		if err != nil {
			return nil, err
		}
		r.serveGRPC(listener, sink)
	}
	if httpAddress != "" {
		listener, err := listen(ctx, httpAddress)
		if err != nil {
			r.Stop() //nolint:contextcheck // likewise where ctx has ended
			return nil, err
		}
		r.serveHTTP(listener, sink)
	}
	return r, nil
}

// GRPC returns the address of the gRPC server, empty where there is none.
func (r *Receiver) GRPC() string { return r.grpcAddress }

// HTTP returns the address of the HTTP server, empty where there is none.
func (r *Receiver) HTTP() string { return r.httpAddress }

// listen listens at an address.
func listen(ctx context.Context, address string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		why := "not an address of this machine, as 127.0.0.1:4317 is"
		if errors.Is(err, syscall.EADDRINUSE) {
			why = "the address is taken"
		}
		return nil, fmt.Errorf("otlp: listen at %s: %s: %w", address, why, capsign.BadRequest)
	}
	return listener, nil
}

// serveGRPC serves OTLP over gRPC.
func (r *Receiver) serveGRPC(listener net.Listener, sink Sink) {
	r.grpcAddress = listener.Addr().String()
	r.grpc = grpc.NewServer(grpc.MaxRecvMsgSize(maxExport))
	tracev1.RegisterTraceServiceServer(r.grpc, traceService{sink: sink})
	metricsv1.RegisterMetricsServiceServer(r.grpc, metricsService{sink: sink})
	r.serving.Go(func() { _ = r.grpc.Serve(listener) }) // ends with Stop
}

// serveHTTP serves OTLP over HTTP.
func (r *Receiver) serveHTTP(listener net.Listener, sink Sink) {
	r.httpAddress = listener.Addr().String()
	r.http = &http.Server{Handler: handler(sink), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second}
	r.serving.Go(func() { _ = r.http.Serve(listener) }) // ends with Stop
}

// Stop ends the receiver: no export is begun any more, and those in flight are
// waited for, two seconds at most.
func (r *Receiver) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var stopping sync.WaitGroup
	if r.grpc != nil {
		late := context.AfterFunc(ctx, r.grpc.Stop)
		stopping.Go(func() { r.grpc.GracefulStop(); late() })
	}
	if r.http != nil {
		stopping.Go(func() {
			if r.http.Shutdown(ctx) != nil {
				_ = r.http.Close()
			}
		})
	}
	stopping.Wait()
	r.serving.Wait()
}

// traceService is OTLP's service for traces.
type traceService struct {
	tracev1.UnimplementedTraceServiceServer
	sink Sink
}

// Export takes spans.
func (s traceService) Export(_ context.Context, export *tracev1.ExportTraceServiceRequest) (*tracev1.ExportTraceServiceResponse, error) {
	s.sink.Spans(export.GetResourceSpans())
	return new(tracev1.ExportTraceServiceResponse), nil
}

// metricsService is OTLP's service for metrics.
type metricsService struct {
	metricsv1.UnimplementedMetricsServiceServer
	sink Sink
}

// Export takes metrics.
func (s metricsService) Export(_ context.Context, export *metricsv1.ExportMetricsServiceRequest) (*metricsv1.ExportMetricsServiceResponse, error) {
	s.sink.Metrics(export.GetResourceMetrics())
	return new(metricsv1.ExportMetricsServiceResponse), nil
}
