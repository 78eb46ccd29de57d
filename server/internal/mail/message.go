package mail

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	netmail "net/mail"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pelletier/go-toml/v2"
	gomail "github.com/wneessen/go-mail"

	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

//go:embed texts/*.toml
var textFiles embed.FS

// language holds the texts of mails in one language.
type language struct {
	Date           string
	Months         []string
	Minutes, Days  string
	On             string // between browser and system, " on " in package request
	UnknownDevice  string `toml:"unknown_device"`
	UnknownNetwork string `toml:"unknown_network"`
	Origin, Footer string
	Kinds          map[string]struct {
		Subject string
		Text    []string // paragraphs before the link
		Advice  string   // for a recipient who did not ask for the mail
	}
}

// texts are the languages by their names.
var texts = sync.OnceValues(func() (map[string]*language, error) {
	all := make(map[string]*language)
	for _, name := range request.Languages {
		file, err := textFiles.ReadFile("texts/" + name + ".toml")
		if err != nil {
			return nil, err
		}
		l := new(language)
		if err := toml.NewDecoder(bytes.NewReader(file)).DisallowUnknownFields().Decode(l); err != nil {
			return nil, fmt.Errorf("mail: texts in %s: %w", name, err)
		}
		all[name] = l
	}
	return all, nil
})

// letter is the content of a mail, in one language.
type letter struct {
	Subject string
	Text    []string
	Link    string // empty for a notice
	Origin  []string
	Advice  string
	Footer  string
}

// page is the HTML form of a letter. It has no images and loads nothing.
var page = template.Must(template.New("mail").Parse(`<!doctype html>
<meta charset="utf-8">
<title>{{.Subject}}</title>
<body style="font-family:sans-serif;line-height:1.5;max-width:36em">
{{range .Text}}<p>{{.}}</p>
{{end}}{{with .Link}}<p><a href="{{.}}">{{.}}</a></p>
{{end}}<p>{{range $i, $line := .Origin}}{{if $i}}<br>
{{end}}{{$line}}{{end}}</p>
<p>{{.Advice}}</p>
<p><small>{{.Footer}}</small></p>
`))

// message returns the message of a mail.
func (m *Manager) message(row store.Mail, to Recipient) (*gomail.Msg, error) {
	l, err := m.letter(row, to)
	if err != nil {
		return nil, err
	}
	html := new(strings.Builder)
	if err := page.Execute(html, l); err != nil {
		return nil, err
	}
	paragraphs := l.Text
	if l.Link != "" {
		paragraphs = append(paragraphs[:len(paragraphs):len(paragraphs)], l.Link)
	}
	paragraphs = append(paragraphs[:len(paragraphs):len(paragraphs)], strings.Join(l.Origin, "\n"), l.Advice, "-- \n"+l.Footer)

	_, domain, _ := strings.Cut(m.c.From.Address, "@")
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(&m.c.From)
	msg.ToMailAddress(&netmail.Address{Address: to.Address})
	msg.Subject(l.Subject)
	msg.SetDateWithValue(m.c.Now())
	msg.SetMessageIDWithValue(row.ID + "@" + domain)                         // the same at each attempt
	msg.SetGenHeaderPreformatted("Auto-Submitted", "auto-generated")         // RFC 3834 s5
	msg.SetGenHeaderPreformatted("List-Id", "<accounts.durward."+domain+">") // RFC 2919 s3
	msg.SetBodyString(gomail.TypeTextPlain, strings.Join(paragraphs, "\n\n")+"\n")
	msg.AddAlternativeString(gomail.TypeTextHTML, html.String())
	return msg, nil
}

// letter returns the texts of a mail in the language of its recipient.
func (m *Manager) letter(row store.Mail, to Recipient) (letter, error) {
	all, err := texts()
	if err != nil {
		return letter{}, err
	}
	var l *language
	for _, name := range []string{to.Language, row.Language, m.c.Language, request.Languages[0]} {
		if l = all[name]; l != nil {
			break
		}
	}
	kind, ok := l.Kinds[row.Kind]
	if !ok {
		return letter{}, refused(fmt.Errorf("mail: there is no text for %q", row.Kind))
	}
	link, url := links[row.Kind], ""
	if to.Token != "" {
		url = *m.public.Load() + link.Path + "#t=" + to.Token
	}
	device := strings.Replace(row.Device, " on ", l.On, 1)
	if device = strings.Replace(device, "unknown device", l.UnknownDevice, 1); device == "" {
		device = l.UnknownDevice
	}
	network := row.Network
	if network == "" {
		network = l.UnknownNetwork
	}
	fill := strings.NewReplacer("{name}", m.c.Name, "{time}", l.date(row.CreatedAt), "{device}", device, "{network}", network, "{life}", l.duration(link.Life)).Replace
	var filled letter
	for _, paragraph := range kind.Text {
		filled.Text = append(filled.Text, fill(paragraph))
	}
	filled.Subject, filled.Link = fill(kind.Subject), url
	filled.Origin, filled.Advice, filled.Footer = strings.Split(fill(l.Origin), "\n"), fill(kind.Advice), fill(l.Footer)
	return filled, nil
}

// date returns a time in UTC.
func (l *language) date(t time.Time) string {
	t = t.UTC()
	return strings.NewReplacer("{day}", strconv.Itoa(t.Day()), "{month}", l.Months[t.Month()-1],
		"{year}", strconv.Itoa(t.Year()), "{clock}", t.Format("15:04")).Replace(l.Date)
}

// duration returns a whole number of days or minutes.
func (l *language) duration(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return strings.ReplaceAll(l.Days, "{n}", strconv.Itoa(int(d/day)))
	}
	return strings.ReplaceAll(l.Minutes, "{n}", strconv.Itoa(int(d/time.Minute)))
}
