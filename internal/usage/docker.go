package usage

import "github.com/docker/docker/api/types/container"

// OfContainer is Docker's measurement of a container. Memory is counted as `docker stats` does, without the page cache.
func OfContainer(s container.StatsResponse) Counters {
	c := Counters{CPU: s.CPUStats.CPUUsage.TotalUsage, Memory: s.MemoryStats.Usage, Limit: s.MemoryStats.Limit}
	for _, key := range []string{"total_inactive_file", "inactive_file"} { // cgroup v1, v2
		if cache, ok := s.MemoryStats.Stats[key]; ok && cache < c.Memory {
			c.Memory -= cache
			break
		}
	}
	for _, n := range s.Networks {
		c.In += n.RxBytes
		c.Out += n.TxBytes
	}
	return c
}
