// Verifies a ledger's folder by Go's own transparency log, golang.org/x/mod/sumdb, which go.sum is checked by.
//
//	ledger_verify LEDGER KEY.PUB [OLD-CHECKPOINT CONSISTENCY-PROOF]
//
// It prints origin, size and root, or fails. Debian: golang-go golang-golang-x-mod-dev;
// GO111MODULE=off GOPATH=/usr/share/gocode go run tests/ledger_verify.go ...
package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(path string) []byte {
	data, err := os.ReadFile(path)
	must(err)
	return data
}

// checkpoint is the tree of a note that the key has signed, with whose it is.
func checkpoint(data []byte, verifiers note.Verifiers) (string, tlog.Tree) {
	opened, err := note.Open(data, verifiers)
	must(err)
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	root, err := tlog.ParseHash(lines[2])
	must(err)
	return lines[0], tlog.Tree{N: size, Hash: root}
}

// tiles reads the layout of C2SP, which leaves the height, always 8, out of the name.
type tiles string

func (folder tiles) Height() int { return 8 }

func (folder tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		data, err := os.ReadFile(filepath.Join(string(folder), strings.Replace(tile.Path(), "tile/8/", "tile/", 1)))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func (folder tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// entries are those of one bundle.
func entries(data []byte) (found [][]byte) {
	for len(data) > 0 {
		length := int(binary.BigEndian.Uint16(data))
		found = append(found, data[2:2+length])
		data = data[2+length:]
	}
	return found
}

func main() {
	folder := os.Args[1]
	key, err := note.NewVerifier(strings.TrimSpace(string(read(os.Args[2]))))
	must(err)
	verifiers := note.VerifierList(key)
	origin, tree := checkpoint(read(filepath.Join(folder, "checkpoint")), verifiers)
	reader := tlog.TileHashReader(tree, tiles(folder))
	for first := int64(0); first < tree.N; first += 256 {
		bundle := tlog.Tile{H: 8, L: -1, N: first / 256, W: 256}
		if tree.N-first < 256 {
			bundle.W = int(tree.N - first)
		}
		// Go calls them "data".
		path := strings.Replace(bundle.Path(), "tile/8/data/", "tile/entries/", 1)
		found := entries(read(filepath.Join(folder, path)))
		if len(found) != bundle.W {
			must(fmt.Errorf("%s has %d entries", path, len(found)))
		}
		var indexes []int64
		for n := range found {
			indexes = append(indexes, tlog.StoredHashIndex(0, first+int64(n)))
		}
		// Each tile is checked against the root on its way.
		hashes, err := reader.ReadHashes(indexes)
		must(err)
		for n, entry := range found {
			if hashes[n] != tlog.RecordHash(entry) {
				must(fmt.Errorf("entry %d is another", first+int64(n)))
			}
		}
		proof, err := tlog.ProveRecord(tree.N, first, reader)
		must(err)
		must(tlog.CheckRecord(proof, tree.N, tree.Hash, first, tlog.RecordHash(found[0])))
	}
	if len(os.Args) > 4 {
		_, old := checkpoint(read(os.Args[3]), verifiers)
		head, newer, ok := strings.Cut(string(read(os.Args[4])), "\n\n")
		lines := strings.Split(head, "\n")
		if !ok || lines[0] != fmt.Sprintf("old %d", old.N) {
			must(fmt.Errorf("no consistency proof from %d", old.N))
		}
		var proof tlog.TreeProof
		for _, line := range lines[1:] {
			hash, err := tlog.ParseHash(line)
			must(err)
			proof = append(proof, hash)
		}
		_, grown := checkpoint([]byte(newer), verifiers)
		must(tlog.CheckTree(proof, grown.N, grown.Hash, old.N, old.Hash))
	}
	fmt.Println(origin, tree.N, hex.EncodeToString(tree.Hash[:]))
}
