package web

import (
	"net/url"
	"strconv"
	"strings"
	"time"
)

// now returns the time of the server.
func (s *Server) now() time.Time {
	if s.c.Parts.Now == nil {
		return time.Now()
	}
	return s.c.Parts.Now()
}

// Time returns a time in the language of the page, with its zone.
func (p *page) Time(t time.Time) string {
	t = t.UTC()
	month := p.T("time.month" + strconv.Itoa(int(t.Month())))
	return p.T("time.date", strconv.Itoa(t.Day()), month, strconv.Itoa(t.Year()), t.Format("15:04"))
}

// Machine returns a time for the attribute datetime.
func (p *page) Machine(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Ago returns how long ago t was, rounded down to one unit.
func (p *page) Ago(t time.Time) string {
	passed := p.s.now().Sub(t)
	count := func(unit string, length time.Duration) string {
		if n := int(passed / length); n > 1 {
			return p.T("time."+unit+"s", strconv.Itoa(n))
		}
		return p.T("time." + unit)
	}
	switch {
	case passed < time.Minute:
		return p.T("time.now")
	case passed < time.Hour:
		return count("minute", time.Minute)
	case passed < 24*time.Hour:
		return count("hour", time.Hour)
	}
	return count("day", 24*time.Hour)
}

// Device returns the name of a device, as package request makes it, in the language of the page.
func (p *page) Device(name string) string {
	if name == "" || name == "unknown device" {
		return p.T("time.unknown_device")
	}
	return strings.Replace(name, " on ", " "+p.T("time.on")+" ", 1)
}

// Done returns the text about the form that led to this page, by the parameter done, or "".
func (p *page) Done() string {
	here, err := url.Parse(p.Here)
	if err != nil {
		return ""
	}
	return texts()[p.Lang]["done."+here.Query().Get("done")] // of a closed list: the text is never the visitor's
}
