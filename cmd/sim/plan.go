package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"triad/internal/evidence"
	"triad/internal/manifests"
	"triad/internal/model/fluentbit"
	"triad/internal/model/fluentd"
	"triad/internal/plan"
	"triad/internal/runtimes"
	"triad/internal/scenario"
)

func (a *app) planCommand() *cobra.Command {
	var from []string
	var bytes, disk, output, overlay, write string
	var headroom float64
	var nodes int
	var measurements bool
	duration := scenario.Duration(time.Hour)
	c := &cobra.Command{
		Use:   "plan RATE",
		Short: "Say what a rate takes: generators, brokers, partitions, nodes, buffers, evidence",
		Long: `Say what a rate takes: generators, brokers, partitions, nodes of the store, how long
buffers last, how large the evidence gets, how long judging it takes and what watching
costs.

RATE is lines a second: 1000000, or 1000000/s. All of it is arithmetic on measured
figures, which --from names: the output of make bench, run directories (of kind or
eks: a model's figures are nobody's), a file that --measurements wrote, or a folder of
these. Each figure says what it is:
  measured    arithmetic on measurements and on the manifests
  configured  as the manifests say
  at least, at most  it rests on a part of what counts, or on what was carried and
              not on what could be
  assumed     it rests on an assumption, which is named with its source
  unknown     nothing measured it; what is missing is said, and no number is made up
A figure that was measured at another rate says how far away that is.

--measurements prints the figures that were read, as JSON for --from.`,
		Example: `  make bench | tee bench.txt
  sim plan 1000000 --bytes 256 --from bench.txt
  sim plan 200000 --from bench.txt --from reports/20261127T124047-es-throttle-kind --duration 6h
  sim plan 1000000 --from docs/measurements --write docs/scaling.md`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := checkOutput(output, "markdown"); err != nil {
				return err
			}
			const most = 1e12 // of what is asked for: more is a typing error
			rate, err := strconv.ParseFloat(strings.TrimSuffix(args[0], "/s"), 64)
			if err != nil || !(rate > 0) || rate > most {
				return usage(fmt.Errorf("%q is not a rate; write 1000000 or 1000000/s", args[0]))
			}
			o := plan.Options{Rate: rate, Duration: duration.D(), Headroom: headroom, Nodes: nodes}
			if !(headroom > 0 && headroom <= 1) || nodes < 0 || duration <= 0 {
				return usage(errors.New("want --headroom above 0 and at most 1, --nodes not below 0, --duration above 0"))
			}
			size, err := sizeOf(bytes)
			if err != nil || !(size > 0 && size <= most) {
				return usage(fmt.Errorf("--bytes %q is not a size; write 256 or 1KiB", bytes))
			}
			o.Bytes = size
			if disk != "" {
				if o.Disk, err = sizeOf(strings.TrimSuffix(disk, "/s")); err != nil || !(o.Disk > 0 && o.Disk <= most) {
					return usage(fmt.Errorf("--disk %q: write 250MiB/s", disk))
				}
			}
			for _, f := range from {
				ms, err := plan.Read(f)
				if err != nil {
					return usage(fmt.Errorf("--from: %w", err))
				}
				o.Measured = append(o.Measured, ms...)
			}
			if measurements {
				return a.json(plan.JSON(o.Measured))
			}
			if o.System, err = a.planned(overlay); err != nil {
				return err
			}
			p := plan.Make(o)
			if write != "" {
				return a.writePlan(write, args[0], p)
			}
			switch output {
			case "json":
				return a.json(p)
			case "markdown":
				fmt.Fprint(a.stdout, p.Markdown())
				return nil
			}
			return a.planText(p)
		},
	}
	c.Flags().StringArrayVar(&from, "from", nil, "measurements: output of make bench, run directory, file of --measurements, or a folder of these; may be given more than once")
	c.Flags().StringVar(&bytes, "bytes", "256", "size of a line")
	c.Flags().Var(durationFlag{&duration}, "duration", "length of a run")
	c.Flags().Float64Var(&headroom, "headroom", 0.7, "share of a measured figure that is planned with")
	c.Flags().StringVar(&disk, "disk", "", "what a broker's volume takes, e.g. 250MiB/s (default: the throughput of its storage class, or what a gp3 volume takes without paying for more)")
	c.Flags().IntVar(&nodes, "nodes", 0, "nodes in datacenter, each with its collector (default: one for each shard that writes files)")
	c.Flags().StringVar(&overlay, "overlay", "eks", "manifests to plan with: kind or eks")
	c.Flags().StringVarP(&output, "output", "o", "text", "text, json or markdown")
	c.Flags().StringVar(&write, "write", "", "Markdown file in which the plan is replaced between its marks")
	c.Flags().BoolVar(&measurements, "measurements", false, "print the measurements that were read, as JSON for --from")
	a.completeFlag(c, "output", "text", "json", "markdown")
	a.completeFlag(c, "overlay", manifests.Overlays()...)
	return c
}

// sizeOf reads a size with or without a unit.
func sizeOf(text string) (float64, error) {
	if v, err := strconv.ParseFloat(text, 64); err == nil {
		return v, nil
	}
	v, err := scenario.ParseSize(text)
	return float64(v), err
}

var primaries = regexp.MustCompile(`"number_of_shards":\s*(\d+)`)

// planned reads what a plan needs to know of the platform out of the manifests.
func (a *app) planned(overlay string) (s plan.System, err error) {
	if !slices.Contains(manifests.Overlays(), overlay) {
		return s, usage(fmt.Errorf("no overlay %q; there are: %v", overlay, manifests.Overlays()))
	}
	set, err := a.manifestSet()
	if err != nil {
		return s, err
	}
	all, err := set.RenderAll(overlay)
	if err != nil {
		return s, usage(err)
	}
	s = plan.SystemOf(overlay, all)
	dc := all[scenario.Datacenter]
	// The kubelet's rotation is the node's configuration, which only kind has here.
	text, err := dc.ConfigFile("fluent-bit", "fluent-bit.yaml")
	if err != nil {
		return s, err
	}
	bit, _, err := fluentbit.Parse([]byte(text), "fluent-bit.yaml", map[string]string{"NODE_NAME": "node", "FLUENTD_HOST": "fluentd"})
	if err != nil {
		return s, err
	}
	if text, err = dc.ConfigFile("fluentd", "fluentd.yaml"); err != nil {
		return s, err
	}
	agg, _, err := fluentd.Parse([]byte(text), "fluentd.yaml", map[string]string{"KAFKA_BROKERS": "x:1"})
	if err != nil {
		return s, err
	}
	w, err := dc.Workload("fluentd")
	if err != nil {
		return s, err
	}
	s.Buffers = append(s.Buffers, runtimes.FluentBitBuffers(bit, 1)...)
	s.Buffers = append(s.Buffers, runtimes.FluentdBuffers(agg, w.Replicas)...)
	if s.Retention > 0 {
		s.Buffers = append(s.Buffers, evidence.Buffer{Hop: "broker", Component: "kafka", For: s.Retention, Instances: 1, Full: "delete", Source: "KafkaTopic " + s.Topic + " retention.ms"})
	}
	calls, err := all[scenario.Monitoring].SetupCalls()
	if err != nil {
		return s, err
	}
	for _, call := range calls {
		if m := primaries.FindStringSubmatch(call.Body); m != nil {
			s.Shards, _ = strconv.Atoi(m[1]) // digits by the expression
		}
	}
	return s, nil
}

func (a *app) planText(p *plan.Plan) error {
	fmt.Fprintf(a.stdout, "%.0f lines a second of %.0f bytes, runs of %v, %.0f %% of what was measured, manifests of overlays/%s\n", p.Rate, p.Bytes, time.Duration(p.Duration*float64(time.Second)), p.Headroom*100, p.System.Overlay)
	sources, numbers := p.Sources()
	part := ""
	for i, r := range p.Rows {
		if r.Part != part {
			part = r.Part
			fmt.Fprintf(a.stdout, "\n%s\n", part)
		}
		from := ""
		if len(numbers[i]) > 0 {
			from = " " + strings.ReplaceAll(fmt.Sprint(numbers[i]), " ", ",")
		}
		basis := " (" + r.Basis + ")"
		if r.Basis == plan.Unknown || r.Basis == plan.AtMost || r.Basis == plan.AtLeast {
			basis = "" // the figure says it
		}
		fmt.Fprintf(a.stdout, "  %s: %s%s%s\n", r.What, r.Text(), basis, from)
		how := r.How
		if r.Beyond > 10 {
			how += fmt.Sprintf("; measured at a %.0fth of this rate", r.Beyond)
		}
		for _, l := range fold(how, 96) {
			fmt.Fprintln(a.stdout, "      "+l)
		}
	}
	fmt.Fprintln(a.stdout, "\nFrom")
	for i, s := range sources {
		fmt.Fprintf(a.stdout, "  [%d] %s\n", i+1, s)
	}
	fmt.Fprintln(a.stdout, "\nWhere the limits are")
	for _, l := range p.Limits {
		for i, line := range fold(l, 94) {
			fmt.Fprintln(a.stdout, []string{"  - ", "    "}[min(i, 1)]+line)
		}
	}
	return nil
}

func (a *app) writePlan(file, rate string, p *plan.Plan) error {
	if err := writeSection(file, func(old string) (string, error) { return plan.Replace(old, p.Markdown()) }); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "the plan for %s is in %s\n", rate, filepath.Clean(file))
	return nil
}
