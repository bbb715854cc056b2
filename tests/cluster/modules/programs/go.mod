module sluice.test/cluster/programs

go 1.26.0
