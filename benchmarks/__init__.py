"""`kda-bench`: latency, throughput, energy and the tables of the paper, measured on the runtime as it ships."""
