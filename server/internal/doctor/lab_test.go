package doctor_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/durward-auth/durward/durwardtest"
	"github.com/durward-auth/durward/lab"
	"github.com/durward-auth/durward/server/internal/doctor"
)

// exchangeOf sends a request of the lab and returns the exchange.
func exchangeOf(t *testing.T, r lab.Request) doctor.Exchange {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), r.Method, r.URL, strings.NewReader(r.Body))
	if err != nil {
		t.Fatal(err)
	}
	sent := &doctor.Request{Method: r.Method, URL: r.URL, Proto: "HTTP/1.1", Body: []byte(r.Body), Whole: true}
	sent.Header = append(sent.Header, doctor.Field{Name: "Host", Value: q.URL.Host})
	for _, f := range r.Fields {
		q.Header.Add(f.Name, f.Value)
		sent.Header = append(sent.Header, doctor.Field{Name: f.Name, Value: f.Value})
	}
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return doctor.Exchange{Request: sent, Response: &doctor.Response{
		Status: resp.StatusCode, Reason: strings.TrimPrefix(resp.Status, resp.Status[:3]+" "), Proto: resp.Proto,
		Header: doctor.FieldsOf(resp.Header), Body: body, Whole: true,
	}}
}

// The doctor names the cause of every endpoint of the lab.
func TestLab(t *testing.T) {
	t.Parallel()
	_, x := durwardtest.NewLab(t)
	for _, e := range x.Endpoints {
		if e.Cause == "" {
			continue
		}
		t.Run(e.Cause, func(t *testing.T) {
			c := &doctor.Case{Kind: doctor.KindRaw, Subject: -1, Log: e.Doctor.Log}
			for i, r := range e.Send {
				c.Exchanges = append(c.Exchanges, exchangeOf(t, r))
				if r.Refused {
					c.Subject = i
				}
			}
			report := doctor.Diagnose(c)
			if len(report.Causes) == 0 || report.Causes[0].ID != e.Cause {
				t.Errorf("got %s, %q, want %s first", report.Verdict, causesOf(report), e.Cause)
			}
		})
	}
}

func causesOf(r *doctor.Report) (all []string) {
	for _, c := range r.Causes {
		all = append(all, c.ID+" "+string(c.Confidence))
	}
	return all
}
