package identity

import (
	"bytes"
	"fmt"
)

// sealedFile begins a file that holds a sealed value; no PEM block and no raw key begins so.
var sealedFile = []byte("orch sealed 1\n")

// SealFile is what a file holds in the place of data while that is not to lie on disk in
// the clear. use names the file's part, as in Seal.
func SealFile(k Key, data []byte, use string) []byte {
	return append(bytes.Clone(sealedFile), Seal(k, data, use)...)
}

// OpenFile is the data of a file's content, sealed or in the clear.
func OpenFile(k Key, content []byte, use string) ([]byte, error) {
	sealed, ok := bytes.CutPrefix(content, sealedFile)
	if !ok {
		return content, nil
	}
	data, err := Open(k, sealed, use)
	if err != nil {
		return nil, fmt.Errorf("open the sealed %s: %w", use, err)
	}
	return data, nil
}

// IsSealedFile says that a file's content is sealed.
func IsSealedFile(content []byte) bool { return bytes.HasPrefix(content, sealedFile) }
