package web

import (
	"strconv"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
)

// chart is a bar chart that the server draws as SVG, with the same numbers as a table. It has no script and
// no inline style: classes of the style sheet set its colours.
type chart struct {
	ID    string // unique on the page
	Title string // key of a text
	Zone  bool   // the steps are named by date and time, not by time alone

	Series []series
	Bars   []bar // one for each step
	Ticks  []tick
	Marks  []mark
	Rows   []chartRow
	Total  int64
}

// series is a part of each bar.
type series struct {
	Name  string // key of a text
	Class string // of the style sheet
	Sum   int64
	of    func(store.Count) bool
}

type (
	bar struct {
		X, Y, W, H float64
		Class      string
	}
	tick struct {
		Y    float64
		Text string
	}
	mark struct {
		X      float64
		Text   string
		Anchor string
	}
	chartRow struct {
		At time.Time
		N  []int64
	}
)

// The space of a chart in units of its own, which are at least as large as CSS pixels at 320 pixels.
const (
	chartW, chartH              = 300.0, 150.0
	chartLeft, chartRight       = 34.0, 2.0
	chartTop, chartBottom       = 8.0, 20.0
	plotW                       = chartW - chartLeft - chartRight
	plotH                       = chartH - chartTop - chartBottom
	plotBase                    = chartH - chartBottom
	gapOfBars                   = 0.2 // of the width of a step
	widestBar                   = 28.0
	mostTickDigits        int64 = 9999
)

// window is a period of the overview, such as the last hour.
type window struct {
	Name  string // of the parameter range
	steps int
	step  time.Duration
	form  string // of the time on the axis
}

var windows = []window{
	{"hour", 12, 5 * time.Minute, "15:04"},
	{"day", 24, time.Hour, "15:04"},
	{"week", 28, 6 * time.Hour, "02.01."},
}

// start returns the start of the first step of a window that ends now.
func (w window) start(now time.Time) time.Time {
	return now.UTC().Truncate(w.step).Add(-time.Duration(w.steps-1) * w.step)
}

// draw computes the bars of a chart from the counts of a window.
func (c *chart) draw(w window, now time.Time, counts []store.Count) {
	start := w.start(now)
	c.Rows = make([]chartRow, w.steps)
	for i := range c.Rows {
		c.Rows[i] = chartRow{start.Add(time.Duration(i) * w.step), make([]int64, len(c.Series))}
	}
	for _, count := range counts {
		i := int(count.At.Sub(start) / w.step)
		if i < 0 || i >= w.steps || count.At.Before(start) {
			continue
		}
		for n := range c.Series {
			if c.Series[n].of(count) {
				c.Rows[i].N[n] += count.N
				c.Series[n].Sum += count.N
				c.Total += count.N
			}
		}
	}
	var highest int64
	for _, row := range c.Rows {
		highest = max(highest, row.sum())
	}
	top := niceTop(highest)
	width := plotW / float64(w.steps)
	for i, row := range c.Rows {
		y := plotBase
		for n, v := range row.N {
			if v == 0 {
				continue
			}
			h := max(1, float64(v)/float64(top)*plotH)
			y -= h
			c.Bars = append(c.Bars, bar{
				X:     round(chartLeft + width*(float64(i)+gapOfBars/2)),
				Y:     round(y),
				W:     round(min(widestBar, width*(1-gapOfBars))),
				H:     round(h),
				Class: c.Series[n].Class,
			})
		}
	}
	for _, v := range []int64{0, top / 2, top} {
		if v == top/2 && top%2 != 0 {
			continue
		}
		c.Ticks = append(c.Ticks, tick{round(plotBase - float64(v)/float64(top)*plotH), short(v)})
	}
	for i, anchor := range []string{"start", "middle", "end"} {
		at := c.Rows[i*(w.steps-1)/2].At
		c.Marks = append(c.Marks, mark{round(chartLeft + float64(i)*plotW/2), at.Format(w.form), anchor})
	}
}

func (r chartRow) sum() (n int64) {
	for _, v := range r.N {
		n += v
	}
	return n
}

// niceTop returns the least of 2, 4, 10, 20, 40, 100 … that is at least n.
func niceTop(n int64) int64 {
	for unit := int64(1); ; unit *= 10 {
		for _, f := range []int64{2, 4, 10} {
			if top := f * unit; top >= n || unit > 1e16 {
				return top
			}
		}
	}
}

// short returns a number for the axis, with k, M or G for thousands, millions and billions.
func short(n int64) string {
	for _, unit := range []struct {
		of   int64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if n > mostTickDigits && n >= unit.of {
			return strconv.FormatFloat(float64(n)/float64(unit.of), 'f', -1, 64) + unit.name
		}
	}
	return strconv.FormatInt(n, 10)
}

func round(v float64) float64 { return float64(int(v*10+0.5)) / 10 }
