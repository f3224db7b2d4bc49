package capsign

//go:generate go run ./gendocs ../docs/codes.md
