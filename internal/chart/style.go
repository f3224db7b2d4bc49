package chart

// styles is how many series look different.
const styles = 6

// Style is the style sheet of plots. The colours are of Okabe and Ito's set,
// which people who see fewer colours can tell apart; in the dark, lighter ones.
const Style = `
.chart{--ink:#1b1f24;--soft:#59636e;--rule:#d8dee4;--paper:#fff;--s0:#0072b2;--s1:#c75300;--s2:#00805d;--s3:#a3447a;--s4:#8a6d00;--s5:#444;--limit:#b3261e}
@media (prefers-color-scheme:dark){.chart{--ink:#e6edf3;--soft:#9da7b1;--rule:#30363d;--paper:#0d1117;--s0:#56b4e9;--s1:#ff9d4d;--s2:#3fd0a4;--s3:#ee9fca;--s4:#f0e442;--s5:#bbb;--limit:#ff8078}}
@media print{.chart{--ink:#000;--soft:#444;--rule:#ccc;--paper:#fff;--s0:#0072b2;--s1:#c75300;--s2:#00805d;--s3:#a3447a;--s4:#8a6d00;--s5:#444;--limit:#b3261e}}
.chart{font:12px system-ui,sans-serif;fill:var(--soft);display:block;width:100%;height:auto}
.chart .label,.chart .name{fill:var(--ink)}
.chart .note{font-size:11px}
.chart path{fill:none}
.chart .grid{stroke:var(--rule)}
.chart .axis,.chart .tick{stroke:var(--soft)}
.chart .break{stroke:var(--soft);stroke-dasharray:1 3}
.chart .line{stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.chart .limit{stroke:var(--limit);stroke-width:1.25}
.chart .guide{stroke:var(--soft);stroke-width:1;stroke-dasharray:3 3}
.chart .dot{stroke:var(--paper);stroke-width:1}
.chart .area{opacity:.18}
.chart .line.s0{stroke:var(--s0)}.chart .dot.s0,.chart .area.s0{fill:var(--s0)}
.chart .line.s1{stroke:var(--s1);stroke-dasharray:8 4}.chart .dot.s1,.chart .area.s1{fill:var(--s1)}
.chart .line.s2{stroke:var(--s2);stroke-dasharray:2 4}.chart .dot.s2,.chart .area.s2{fill:var(--s2)}
.chart .line.s3{stroke:var(--s3);stroke-dasharray:10 3 2 3}.chart .dot.s3,.chart .area.s3{fill:var(--s3)}
.chart .line.s4{stroke:var(--s4);stroke-dasharray:5 3}.chart .dot.s4,.chart .area.s4{fill:var(--s4)}
.chart .line.s5{stroke:var(--s5);stroke-dasharray:1 3}.chart .dot.s5,.chart .area.s5{fill:var(--s5)}
`
