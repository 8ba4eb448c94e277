package env

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	caarlos "github.com/caarlos0/env/v11"
)

// Fault is one variable and the rule it breaks.
type Fault struct {
	Name string
	// Rule follows the name in a sentence: "must be true or false".
	Rule string
}

func (f Fault) String() string { return f.Name + " " + f.Rule }

// Faults is everything that is wrong with an environment, in one error.
type Faults []Fault //nolint:errname // reads as what it is: env.Faults, of env.Fault

func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return "configuration: " + strings.Join(lines, "; ")
}

// checker is implemented by config blocks with rules beyond a single value's.
type checker interface{ check() []Fault }

// Load reads a config struct, which may be composed of this package's blocks,
// from "NAME=value" lines. The error is of type Faults and complete: mending
// what it names is enough.
func Load[T any](environ []string) (T, error) {
	values := parseLines(environ)
	faults := unknownNames(values)
	config, err := caarlos.ParseAsWithOptions[T](caarlos.Options{
		Environment: values,
		FuncMap:     map[reflect.Type]caarlos.ParserFunc{reflect.TypeFor[[]netip.Prefix](): parseNetworks},
	})
	faults = append(faults, parseFaults(reflect.TypeFor[T](), err, values)...)
	faults = append(faults, checkAll(reflect.ValueOf(config), faults)...)
	if len(faults) > 0 {
		var none T
		return none, faults
	}
	return config, nil
}

// Summary describes a config struct for the start-up log line, secrets redacted.
func Summary(config any) slog.Value {
	var attrs []slog.Attr
	walk(reflect.ValueOf(config), func(name string, value reflect.Value) {
		attrs = append(attrs, slog.String(name, fmt.Sprint(value.Interface())))
	})
	return slog.GroupValue(attrs...)
}

// parseLines drops empty values: compose files pass variables on as empty.
func parseLines(environ []string) map[string]string {
	values := caarlos.ToMap(environ)
	maps.DeleteFunc(values, func(_, value string) bool { return strings.TrimSpace(value) == "" })
	return values
}

func unknownNames(values map[string]string) Faults {
	known := map[string]bool{}
	for _, v := range Variables() {
		known[v.Name] = true
	}
	var faults Faults
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if strings.HasPrefix(name, "HOOKS_") && !known[name] {
			faults = append(faults, Fault{name, "is not a setting" + didYouMean(name)})
		}
	}
	return faults
}

// parseFaults restates the library's errors, which name Go fields, with the
// variables' names and our rules.
func parseFaults(config reflect.Type, err error, values map[string]string) Faults {
	if err == nil {
		return nil
	}
	var all caarlos.AggregateError
	if !errors.As(err, &all) {
		return Faults{{"configuration", err.Error()}}
	}
	names := namesByField(config)
	var faults Faults
	for _, err := range all.Errors {
		var missing caarlos.VarIsNotSetError
		var malformed caarlos.ParseError
		switch {
		case errors.As(err, &missing):
			faults = append(faults, Fault{missing.Key, "must be set"})
		case errors.As(err, &malformed):
			name := names[malformed.Name]
			faults = append(faults, Fault{name, rule(malformed, values[name])})
		default:
			faults = append(faults, Fault{"configuration", err.Error()})
		}
	}
	return faults
}

// rule never repeats the value of one of our own types: it may be secret.
func rule(malformed caarlos.ParseError, value string) string {
	switch malformed.Type {
	case reflect.TypeFor[time.Duration]():
		return fmt.Sprintf("must be a duration such as 90s or 720h, is %q", value)
	case reflect.TypeFor[slog.Level]():
		return fmt.Sprintf("must be debug, info, warn or error, is %q", value)
	case reflect.TypeFor[bool]():
		return fmt.Sprintf("must be true or false, is %q", value)
	case reflect.TypeFor[int]():
		return fmt.Sprintf("must be a whole number, is %q", value)
	default:
		return malformed.Err.Error()
	}
}

// checkAll runs the blocks' own rules, leaving out variables already at fault.
func checkAll(config reflect.Value, sofar Faults) Faults {
	var faults Faults
	add := func(v reflect.Value) {
		c, ok := v.Interface().(checker)
		if !ok {
			return
		}
		for _, f := range c.check() {
			known := func(other Fault) bool { return other.Name == f.Name }
			if !slices.ContainsFunc(sofar, known) && !slices.Contains(faults, f) {
				faults = append(faults, f)
			}
		}
	}
	for i := range config.NumField() {
		if config.Type().Field(i).Anonymous {
			faults = append(faults, checkAll(config.Field(i), append(sofar, faults...))...)
		}
	}
	add(config)
	return faults
}

func namesByField(config reflect.Type) map[string]string {
	names := map[string]string{}
	for _, field := range reflect.VisibleFields(config) {
		if name := variableName(field); name != "" {
			names[field.Name] = name
		}
	}
	return names
}

func walk(config reflect.Value, visit func(name string, value reflect.Value)) {
	for _, field := range reflect.VisibleFields(config.Type()) {
		if name := variableName(field); name != "" {
			visit(name, config.FieldByIndex(field.Index))
		}
	}
}

func variableName(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("env"), ",")
	return name
}

// didYouMean suggests the nearest name, when one is near.
func didYouMean(name string) string {
	const near = 4
	best, distance := "", near
	for _, v := range Variables() {
		if d := editDistance(name, v.Name); d < distance {
			best, distance = v.Name, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// editDistance counts the insertions, deletions and substitutions between a and b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
