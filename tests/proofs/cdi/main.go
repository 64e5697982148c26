// Writes the list that nvidia-ctk would write on a machine with a GPU, from the files under the
// folder that is its first argument, for the driver of the version that is its second. The GPU itself
// is a mock of NVIDIA's own.
package main

import (
	"log"
	"os"

	"github.com/NVIDIA/go-nvlib/pkg/nvlib/device"
	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"
	"github.com/NVIDIA/nvidia-container-toolkit/pkg/nvcdi"
	"github.com/NVIDIA/nvidia-container-toolkit/pkg/nvcdi/transform"
)

func main() {
	server := dgxa100.New()
	server.DriverVersion = os.Args[2]
	for _, each := range server.Devices {
		mock := each.(*dgxa100.Device)
		mock.GetMaxMigDeviceCountFunc = func() (int, nvml.Return) { return 0, nvml.SUCCESS }
		mock.IsMigDeviceHandleFunc = func() (bool, nvml.Return) { return false, nvml.SUCCESS }
	}
	library, err := nvcdi.New(
		nvcdi.WithNvmlLib(server),
		nvcdi.WithDeviceLib(device.New(server)),
		nvcdi.WithDriverRoot(os.Args[1]),
		nvcdi.WithDevRoot(os.Args[1]),
		nvcdi.WithMode(nvcdi.ModeNvml),
		nvcdi.WithMergedDeviceOptions(transform.WithName("all"), transform.WithSkipIfExists(true)),
	)
	if err != nil {
		log.Fatal(err)
	}
	spec, err := library.GetSpec()
	if err != nil {
		log.Fatal(err)
	}
	if _, err := spec.WriteTo(os.Stdout); err != nil {
		log.Fatal(err)
	}
}
