package queue

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/capsign/cap/capsign"
)

// metrics are a worker's instruments. The options of each combination of
// attributes are made once: making them costs more than recording.
type metrics struct {
	pool, provider string
	wait           metric.Float64Histogram
	process        metric.Float64Histogram
	consumed       metric.Int64Counter
	sign           metric.Float64Histogram
	alarms         metric.Int64Counter
	options        sync.Map // metricKey → metric.MeasurementOption
}

// metricKey is one combination of attributes.
type metricKey struct {
	lane  capsign.Lane
	class capsign.Class
	alg   capsign.Alg
	code  capsign.Code
}

// newMetrics makes the instruments of a worker of cfg's pool.
func newMetrics(cfg Config) *metrics {
	meter := otel.Meter(scope)
	m := &metrics{pool: cfg.Pool, provider: cfg.Provider}
	// The API documents that an instrument comes back usable beside an error.
	m.wait, _ = meter.Float64Histogram("cap.queue.wait", metric.WithUnit("s"),
		metric.WithDescription("From a request's being stored by the broker to its being taken."))
	m.process, _ = meter.Float64Histogram("messaging.process.duration", metric.WithUnit("s"),
		metric.WithDescription("From taking a request to its stored result."))
	m.consumed, _ = meter.Int64Counter("messaging.client.consumed.messages", metric.WithUnit("{message}"),
		metric.WithDescription("Requests taken from the queue, redeliveries included."))
	m.sign, _ = meter.Float64Histogram("cap.provider.sign.duration", metric.WithUnit("s"),
		metric.WithDescription("One call to the key provider, once for each signature that it was for."))
	m.alarms, _ = meter.Int64Counter("cap.integrity.alarms", metric.WithUnit("{signature}"),
		metric.WithDescription("Signatures that a provider returned and its public key refuses. Any is one too many."))
	return m
}

// alarm records a wrong signature.
func (m *metrics) alarm(ctx context.Context, key capsign.Key) {
	m.alarms.Add(ctx, 1, m.attributes(metricKey{alg: key.Alg}))
}

// taken records how long one request lay in the queue.
func (m *metrics) taken(ctx context.Context, lane capsign.Lane, waited time.Duration) {
	if m.wait.Enabled(ctx) {
		m.wait.Record(ctx, max(waited, 0).Seconds(), m.attributes(metricKey{lane: lane}))
	}
}

// processed records the end of one request.
func (m *metrics) processed(ctx context.Context, lane capsign.Lane, code capsign.Code, d time.Duration) {
	if m.process.Enabled(ctx) {
		option := m.attributes(metricKey{lane: lane, code: code})
		m.process.Record(ctx, d.Seconds(), option)
		m.consumed.Add(ctx, 1, option)
	}
}

// signed records one call to the provider, once for each of its n signatures.
func (m *metrics) signed(ctx context.Context, key capsign.Key, n int, err error, d time.Duration) {
	if !m.sign.Enabled(ctx) {
		return
	}
	k := metricKey{class: key.Class, alg: key.Alg}
	if err != nil {
		k.code = capsign.CodeOf(err)
	}
	option := m.attributes(k)
	for range n {
		m.sign.Record(ctx, d.Seconds(), option)
	}
}

// attributes returns the option for k, made at its first use.
func (m *metrics) attributes(k metricKey) metric.MeasurementOption {
	if option, ok := m.options.Load(k); ok {
		return option.(metric.MeasurementOption)
	}
	attrs := []attribute.KeyValue{attrPool.String(m.pool), attrProvider.String(m.provider)}
	if k.lane != "" {
		attrs = append(attrs, attrSystem.String("nats"), attrOperation.String("process"), attrLane.String(string(k.lane)))
	}
	if k.class != "" {
		attrs = append(attrs, attrClass.String(string(k.class)))
	}
	if k.alg != "" {
		attrs = append(attrs, attrAlg.String(string(k.alg)))
	}
	if k.code != "" {
		attrs = append(attrs, attrErrorType.String(string(k.code)))
	}
	option := metric.WithAttributeSet(attribute.NewSet(attrs...))
	m.options.Store(k, option)
	return option
}
