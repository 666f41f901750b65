/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One temperature, which a property of the module sets. The driver swwdog of
 * GENERIC has a global name that this module has, too.
 */
#include <sys/param.h>
#include <sys/module.h>
#include <sys/systm.h>

#include <dev/sysmon/sysmonvar.h>
#include <prop/proplib.h>

MODULE(MODULE_CLASS_DRIVER, warm, "sysmon_envsys");

extern int swwdog_cd;
int	swwdog_cd;

static struct sysmon_envsys *sme;
static envsys_data_t sensor;
static int64_t degrees;

static void
warm_refresh(struct sysmon_envsys *device, envsys_data_t *data)
{

	data->value_cur = (int32_t)degrees * 1000000 + 273150000;
	data->state = ENVSYS_SVALID;
}

static int
warm_start(prop_dictionary_t properties)
{
	int error;

	if (!prop_dictionary_get_int64(properties, "degrees", &degrees))
		return EINVAL;
	sensor.units = ENVSYS_STEMP;
	sensor.state = ENVSYS_SINVALID;
	strlcpy(sensor.desc, "room", sizeof(sensor.desc));
	sme = sysmon_envsys_create();
	sme->sme_name = "warm";
	sme->sme_refresh = warm_refresh;
	error = sysmon_envsys_sensor_attach(sme, &sensor);
	if (error == 0)
		error = sysmon_envsys_register(sme);
	if (error != 0)
		sysmon_envsys_destroy(sme);
	return error;
}

static int
warm_modcmd(modcmd_t cmd, void *aux)
{

	switch (cmd) {
	case MODULE_CMD_INIT:
		return warm_start(aux);
	case MODULE_CMD_FINI:
#ifndef BUG
		sysmon_envsys_unregister(sme);
#endif
		return 0;
	default:
		return ENOTTY;
	}
}
