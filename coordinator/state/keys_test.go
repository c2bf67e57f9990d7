package state

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestKeys fixes the bytes of every key: a change of them needs a new Format.
func TestKeys(t *testing.T) {
	const id = "j01arz3ndektsv4rrffq69g5fav"
	idHex := hex.EncodeToString([]byte(id))
	sum := strings.Repeat("ab", 32)
	one := "0000000000000001"
	entity := "3f79bb7b435b05321651daefd374cdc6" // of "e"
	tests := []struct {
		name string
		key  key
		want string
	}{
		{"meta", keyMeta(), "6d"},
		{"raft", keyRaft(), "4d"},
		{"job", keyJob(id), "6a" + idHex},
		{"spec", keySpec(id), "73" + idHex},
		{"attempt", keyAttempt(id, 1), "61" + idHex + one},
		{"results", keyResults(id), "72" + idHex},
		{"part", keyPart(id, 1, 258), "70" + idHex + one + "00000102"},
		{"part hash", keyPartHash(id, 1, 258), "68" + idHex + one + "00000102"},
		{"fragment", keyFragment(id, 1), "66" + idHex + one},
		{"site fragment", keySiteFragment("obs", 1, id, 1), "676f62730001" + one + idHex + one},
		{"list of all", prefixList(ListQuery{AllOwners: true}).newest(1).raw(id), "41fffffffffffffffe" + idHex},
		{"list of a definition", prefixList(ListQuery{AllOwners: true, Definition: "fold"}), "44666f6c640001"},
		{"list of an owner", prefixList(ListQuery{Owner: "al"}), "4f616c0001"},
		{"list of an owner and definition", prefixList(ListQuery{Owner: "al", Definition: "fold"}), "4c616c0001666f6c640001"},
		{"phase of all", prefixPhase(ListQuery{AllOwners: true}, "ERROR"), "534552524f520001"},
		{"phase of an owner", prefixPhase(ListQuery{Owner: "al"}, "ERROR"), "50616c00014552524f520001"},
		{"phase of an owner and definition", prefixPhase(ListQuery{Owner: "al", Definition: "fold"}, "ERROR"),
			"51616c0001666f6c6400014552524f520001"},
		{"destroy", keyDestroy(1, id), "64" + one + idHex},
		{"purge", keyPurge(id), "71" + idHex},
		{"used by", keyUsedBy(id, "r", id), "62" + idHex + "720001" + idHex},
		{"request", keyRequest("", "k"), "6b00016b0001"},
		{"request time", keyRequestTime(1, "", "k"), "65" + one + "00016b0001"},
		{"definition", keyDefinition("fold", "1.10"), "6e666f6c640001" + "000000020000000b00000000"},
		{"alias", keyAlias("f"), "79660001"},
		{"site", keySite("obs"), "746f62730001"},
		{"site key", keySiteKey([]byte{1, 2}), "750102"},
		{"site token", keySiteToken([]byte{1, 2}), "760102"},
		{"content", keyContent(sum), "63" + sum},
		{"unreferenced", keyUnreferenced(1, sum), "7a" + one + sum},
		{"reference of a job", keyReference(sum, jobHolder(id, 1)), "52" + sum + "6a" + idHex + one},
		{"reference of logs", keyReferenceOf(logHolder(id, 1), sum), "486c" + idHex + one + sum},
		{"reference of a definition", keyReferenceOf(definitionHolder("d"), sum), "4864640001" + sum},
		{"use", keyUse("e", &Job{Id: id, CreatedUs: 1}), "55" + entity + "fffffffffffffffe" + idHex},
		{"occurrence", keyOccurrence(sum, "e"), "43" + sum + entity},
		{"found by site", keyFound(&Job{Id: id, CreatedUs: 1}, foundSite, "obs"), "46736f62730001fffffffffffffffe" + idHex},
		{"found by parameter", prefixFound(foundParameter, "fold", "n", "2"), "4670666f6c6400016e0001320001"},
		{"computed", prefixComputed([]byte{1, 2}), "4b0102"},
		{"retraction", keyRetraction("e"), "78" + entity},
		{"zero byte", newKey('x').text("a\x00b"), "786100ff620001"},
	}
	for _, test := range tests {
		if got := hex.EncodeToString(test.key); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestTextKeepsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune{0, 1, 'a', 'b', 0x7f}), 0, 6, -1)
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		ka, kb := newKey('x').text(a), newKey('x').text(b)
		if strings.Compare(a, b) != bytes.Compare(ka, kb) {
			t.Fatalf("%q and %q: order of %x and %x", a, b, ka, kb)
		}
		if a != b && bytes.HasPrefix(ka, kb) {
			t.Fatalf("%q is a prefix of %q", b, a)
		}
	})
}

func TestVersionOrder(t *testing.T) {
	sorted := []string{"0", "0.0.1", "1", "1.0", "1.0.0", "1.0.1", "1.2", "1.10", "2", "10"}
	if !slices.IsSortedFunc(sorted, func(a, b string) int { return bytes.Compare(versionBytes(a), versionBytes(b)) }) {
		t.Errorf("not in order: %v", sorted)
	}
}
