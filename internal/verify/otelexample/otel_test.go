// Package otelexample shows how to trace the client with OpenTelemetry. It is in
// this module so that the client's module does not depend on OpenTelemetry.
package otelexample

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/client"
	"github.com/registryusers/registryusers/client/clienttest"
)

// A tracing transport given to the client traces it. Each try of a call is a span.
func Example() {
	spans := tracetest.NewInMemoryExporter() // in production, an exporter to a collector
	tracing := otelhttp.WithTracerProvider(trace.NewTracerProvider(trace.WithSyncer(spans)))

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusConflict)
	}))
	defer server.Close()
	c, err := client.New(
		client.WithHTTPClient(&http.Client{
			Transport: otelhttp.NewTransport(http.DefaultTransport, tracing),
			Timeout:   client.DefaultTimeout,
		}),
		client.WithBaseURL(server.URL),
		client.WithAPIKey("1$Wf3nKq8ZtLs5"),
		client.WithProject(1),
		client.WithRegion(1),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = c.CreateUser(context.Background(), 1, client.NewUser{Name: "ci", Days: 30})
	fmt.Println(err)

	for _, span := range spans.GetSpans() {
		fmt.Println(span.Name, span.Status.Code)
	}
	// Output:
	// create user: conflict (409)
	// HTTP POST Error
}

func TestSpansHoldNoSecrets(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	tracing := otelhttp.WithTracerProvider(trace.NewTracerProvider(trace.WithSyncer(exporter)))
	srv := clienttest.NewServer(t)
	c := srv.Client(client.WithHTTPClient(&http.Client{Transport: otelhttp.NewTransport(&http.Transport{DisableKeepAlives: true}, tracing)}))

	const key, custom = "a-key-of-one-call", "a custom secret"
	srv.Fail(clienttest.DropResponse, clienttest.RetryAfter(http.StatusServiceUnavailable, 0))
	generated, err := c.CreateUser(t.Context(), srv.RegistryID, client.NewUser{Name: "generated", Days: 30}) // three tries
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateUser(t.Context(), srv.RegistryID, client.NewUser{Name: "custom", Days: 30, Secret: registryusers.NewSecret(custom)},
		client.WithIdempotencyKey(key))
	if err != nil {
		t.Fatal(err)
	}

	spans := exporter.GetSpans()
	if len(spans) != 4 {
		t.Errorf("%d spans; want 4, one for each try", len(spans))
	}
	_, ofAPIKey, _ := strings.Cut(srv.APIKey.Reveal(), "$")
	secrets := map[string]string{
		"the API key":          ofAPIKey,
		"the generated secret": generated.Secret.Reveal(),
		"the custom secret":    custom,
		"the Idempotency-Key":  key,
	}
	for _, span := range spans {
		if len(span.Attributes) == 0 {
			t.Errorf("span %s has no attributes", span.Name)
		}
		texts := []string{span.Name, span.Status.Description}
		attributes := span.Attributes
		for _, event := range span.Events {
			texts = append(texts, event.Name)
			attributes = append(attributes, event.Attributes...)
		}
		for _, attribute := range attributes {
			texts = append(texts, string(attribute.Key), attribute.Value.String())
		}
		for what, secret := range secrets {
			for _, text := range texts {
				if secret == "" || strings.Contains(text, secret) {
					t.Errorf("span %s: %q holds %s", span.Name, text, what)
				}
			}
		}
	}
}
