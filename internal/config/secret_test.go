package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"
)

// canary stands for a secret that somebody put in a wrong place.
const canary = "hunter2-S3cret"

// spoils make a scalar wrong in different ways, the canary inside.
var spoils = map[string]func(*yaml.Node){
	"text":    func(n *yaml.Node) { n.Value, n.Tag = canary, "!!str" },
	"quoted":  func(n *yaml.Node) { n.Value, n.Style = canary, yaml.DoubleQuotedStyle },
	"control": func(n *yaml.Node) { n.Value, n.Style = canary+"\x1b\n", yaml.DoubleQuotedStyle },
	"url":     func(n *yaml.Node) { n.Value = "nats://" + canary + "@host" },
	"long":    func(n *yaml.Node) { n.Value = strings.Repeat(canary, 50) },
	"tag":     func(n *yaml.Node) { n.Tag, n.Style = "!"+canary, yaml.TaggedStyle },
	"anchor":  func(n *yaml.Node) { n.Anchor = canary },
	"list": func(n *yaml.Node) {
		*n = yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: canary}}}
	},
	"section": func(n *yaml.Node) {
		*n = yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{
			{Kind: yaml.ScalarNode, Value: canary}, {Kind: yaml.ScalarNode, Value: canary},
		}}
	},
}

// scalars returns all scalars below a node, keys included.
func scalars(n *yaml.Node) []*yaml.Node {
	if n.Kind == yaml.ScalarNode {
		return []*yaml.Node{n}
	}
	var found []*yaml.Node
	for _, child := range n.Content {
		found = append(found, scalars(child)...)
	}
	return found
}

// spoiled returns text with some of its scalars, keys included, spoiled.
func spoiled(t fataler, text string, which map[int]string) string {
	root, faults := parseYAML([]byte(text))
	if len(faults) > 0 {
		t.Fatalf("%v", faults)
	}
	all := scalars(root)
	for i, how := range which {
		spoils[how](all[i%len(all)])
	}
	out, err := yaml.Marshal(root)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return string(out)
}

// fataler is what *testing.T and *rapid.T share.
type fataler interface {
	Fatalf(format string, args ...any)
}

// checkSilent fails if an error repeats the canary.
func checkSilent(t fataler, text string) {
	_, err := Parse([]byte(text))
	if err == nil {
		return
	}
	if said := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(said, canary) || strings.Contains(said, "hunter2") {
		t.Fatalf("the error repeats the file:\n%s\n---\n%s", said, text)
	}
}

func TestNoErrorRepeatsAScalar(t *testing.T) {
	text := uncommented(t)
	root, _ := parseYAML([]byte(text))
	for i := range scalars(root) {
		for how := range spoils {
			checkSilent(t, spoiled(t, text, map[int]string{i: how}))
		}
	}
}

func TestNoErrorRepeatsSeveralScalars(t *testing.T) {
	text := uncommented(t)
	ways := slices.Sorted(maps.Keys(spoils))
	rapid.Check(t, func(r *rapid.T) {
		which := rapid.MapOfN(rapid.IntRange(0, 200), rapid.SampledFrom(ways), 1, 10).Draw(r, "spoiled")
		checkSilent(r, spoiled(r, text, which))
	})
}

// Cut anywhere, or with anything in between, the file is not YAML any more.
func TestNoSyntaxErrorRepeatsTheFile(t *testing.T) {
	text := strings.ReplaceAll(mission, "PKCS11_PIN", canary)
	junk := []string{"", "\t", ": ", "\"", "'", "*" + canary, "&" + canary + " ", "!" + canary + " ", "[", "%" + canary, "\x00", "\xff", "\n---\n", "? "}
	rapid.Check(t, func(r *rapid.T) {
		from := rapid.IntRange(0, len(text)).Draw(r, "from")
		to := rapid.IntRange(from, min(from+20, len(text))).Draw(r, "to")
		checkSilent(r, text[:from]+rapid.SampledFrom(junk).Draw(r, "junk")+text[to:])
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(mission))
	f.Add([]byte(mission + "nats: {url: nats://a, creds: b}\nqueue: {jobs_max_bytes: 1GiB}\n"))
	f.Add([]byte("key: {provider: pkcs11, pkcs11: {module: /a, pin_env: A, uri: 'pkcs11:token=a;object=b;id=%01'}}"))
	f.Add([]byte("key: {provider: cloudkms, name: a, cloudkms: {vendor: aws, key: alias/a, region: eu-west-1}}"))
	f.Add([]byte("a: &a [*a]\n---\n? !!x [\t"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Parse(data)
		if err != nil {
			if len(faultsOf(t, err)) == 0 || len(err.Error()) > 8192 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if err := cfg.Validate(); err != nil {
			t.Errorf("Parse accepts what Validate refuses: %v", err)
		}
	})
}
